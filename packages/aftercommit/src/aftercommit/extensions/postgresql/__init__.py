"""The extension "postgresql": the engine on a database server that many processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from aftercommit.database.backend import DatabaseBackend


class PostgreSQLExtension(Extension):
    """Adds PostgreSQL to the databases of an application.

    >>> from aftercommit.extensions.postgresql import PostgreSQLExtension
    >>> [*PostgreSQLExtension().parts().databases["postgresql"]().asyncio_drivers]
    ['asyncpg', 'psycopg', 'anyio']
    """

    def parts(self) -> Parts:
        return Parts(name="postgresql", databases={"postgresql": _backend})


def _backend() -> type[DatabaseBackend]:
    from aftercommit.extensions.postgresql.backend import PostgreSQL

    return PostgreSQL
