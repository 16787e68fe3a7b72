"""The outbox in real processes: killed, and started again."""
