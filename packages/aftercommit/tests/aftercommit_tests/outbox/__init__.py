"""The outbox in sessions that an application opens itself."""
