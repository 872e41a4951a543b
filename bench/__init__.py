"""Benchmarks: `python -m bench.<name>`, the last line on stdout is one JSON document."""
