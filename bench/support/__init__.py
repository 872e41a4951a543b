"""Parts of benchmarks that run in processes of their own."""
