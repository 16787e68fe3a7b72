"""Makes databases on a server, for a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import make_url


@contextmanager
def new_database(server: str, *, template: str = "template1") -> Iterator[str]:
    """Make a database for the time of the context, and return its URL."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"allocation_test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        create = SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(Identifier(name), Identifier(template)))
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
