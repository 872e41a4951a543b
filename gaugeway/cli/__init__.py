"""The command line. docs/cli.md is its contract."""
