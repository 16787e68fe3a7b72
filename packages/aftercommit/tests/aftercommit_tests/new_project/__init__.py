"""Projects that are made on the engine."""
