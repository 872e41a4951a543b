"""Windows and audit: a pure, vectorised fold of a shard's readings log."""
