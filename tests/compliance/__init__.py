"""SQLAlchemy's own suite for dialects, run against `sqlite+anyio`: `make compliance`."""
