"""The outbox for an application that opens its own sessions: `outbox.py`, and its parts."""
