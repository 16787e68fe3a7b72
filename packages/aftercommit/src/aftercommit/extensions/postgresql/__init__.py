"""The extension "postgresql": the same database at scale, on a server that many processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    from aftercommit.sql.backend import DatabaseBackend


class PostgreSQLExtension(Extension):
    """What it brings to the program.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.postgresql import PostgreSQLExtension
    >>> extensions = Extensions([PostgreSQLExtension()])
    >>> extensions.database_backends()["postgresql"]().asyncio_driver
    'asyncpg'
    """

    name = "postgresql"
    database_scheme = "postgresql"

    def database_backend(self) -> type[DatabaseBackend]:
        from aftercommit.extensions.postgresql.backend import PostgreSQL

        return PostgreSQL
