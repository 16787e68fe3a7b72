"""SQLAlchemy's own suite for dialects, run against those here: `make compliance`."""
