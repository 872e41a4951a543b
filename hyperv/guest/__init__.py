"""The guest agent: captures readings, spools them to disk, serves them as a stream."""
