"""The extension "postgresql": the same database at scale, on a server that many processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.process.extension import Extension

if TYPE_CHECKING:
    from allocation.adapters.database_backend import DatabaseBackend


class PostgreSQLExtension(Extension):
    """What it brings to the program."""

    name = "postgresql"
    database_scheme = "postgresql"

    def database_backend(self) -> type[DatabaseBackend]:
        from allocation.extensions.postgresql.backend import PostgreSQL

        return PostgreSQL
