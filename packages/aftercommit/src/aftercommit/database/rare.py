"""Conditions that few rows fulfil, whatever the statistics of the database say.

After an ANALYZE of a few rows, SQLite would read whole tables of millions, since these have so few;
and after one of many rows about one handler, also for the others. PostgreSQL keeps its statistics.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class rare(FunctionElement[bool]):  # noqa: N801 - it is used like a function of SQL
    """The condition it is given, for which a planner should use an index."""

    # no Boolean: on SQLite, SQLAlchemy would write `= 1` behind it, for which there is no index
    type, inherit_cache = sa.Integer(), True  # type: ignore[assignment]


@compiles(rare)
def _plain(element: rare, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(rare, "sqlite")
def _likelihood(element: rare, compiler: Any, **options: Any) -> str:
    return f"likelihood({_plain(element, compiler, **options)}, 0.000001)"
