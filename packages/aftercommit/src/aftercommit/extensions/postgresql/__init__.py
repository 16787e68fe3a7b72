"""The extension "postgresql": the same database at scale, on a server that many processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from aftercommit.sql.backend import DatabaseBackend


class PostgreSQLExtension(Extension):
    """What it brings to the program.

    >>> from aftercommit.extensions.postgresql import PostgreSQLExtension
    >>> [*PostgreSQLExtension().parts().databases["postgresql"]().asyncio_drivers]
    ['asyncpg', 'psycopg', 'anyio']
    """

    def parts(self) -> Parts:
        return Parts(name="postgresql", databases={"postgresql": _backend})


def _backend() -> type[DatabaseBackend]:
    from aftercommit.extensions.postgresql.backend import PostgreSQL

    return PostgreSQL
