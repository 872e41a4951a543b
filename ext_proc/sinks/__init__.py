"""Sinks: readers of the journal that deliver its rows somewhere, each with a cursor of its own."""
