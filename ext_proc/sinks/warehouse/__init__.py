"""The local warehouse: partitioned Parquet, one writer, read with DuckDB by anyone on the machine."""
