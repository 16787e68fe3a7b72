"""The room "postgresql": the same database at scale, on a server that many processes share."""

from allocation.adapters.postgresql.kind import PostgreSQL

__all__ = ["PostgreSQL"]
