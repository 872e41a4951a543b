"""The data path: sessions, journal, windows and sinks."""
