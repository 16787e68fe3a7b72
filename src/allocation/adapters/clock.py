"""The database's clock, as an SQL expression that each database spells in its own way."""

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement


class DatabaseClock(FunctionElement[float]):
    """The seconds since 1970, when the statement runs."""

    type = Double()
    inherit_cache = True


@compiles(DatabaseClock)
def _for_display(element: DatabaseClock, compiler: Any, **options: Any) -> str:
    return "database_clock()"


@compiles(DatabaseClock, "sqlite")
def _sqlite(element: DatabaseClock, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(DatabaseClock, "postgresql")
def _postgresql(element: DatabaseClock, compiler: Any, **options: Any) -> str:
    # not clock_timestamp(), which may change within a statement, so that no index can be used
    return "extract(epoch FROM statement_timestamp())::double precision"
