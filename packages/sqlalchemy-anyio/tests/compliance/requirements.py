"""What SQLAlchemy's suite for dialects may expect of each database, over its dialect here.

The suite runs a test only if what it requires is there, and assumes of most things that they are
not. A table for each database names what is there, and after each reason what is not.
"""

from typing import Any

from sqlalchemy import __version__
from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

from compliance import postgresql, sqlite

IS_2_0 = __version__.startswith("2.0.")
TABLES = {"sqlite": sqlite, "postgresql": postgresql}


class Requirements(SuiteRequirements):
    """See above."""

    def get_isolation_levels(self, config: Any) -> dict[str, Any]:
        """Return the levels that the suite may try."""
        levels: dict[str, Any] = TABLES[config.db.dialect.name].ISOLATION_LEVELS
        return levels


def _requirement(name: str) -> property:
    where = [
        database
        for table in TABLES.values()
        for database, names in table.SUPPORTED.items()
        if name in names.split() and not (IS_2_0 and name in table.SINCE_2_1.split())
    ]
    # a new object each time: the suite combines them in place
    if where:
        return property(lambda self: exclusions.only_on(where))  # type: ignore[no-untyped-call]
    return property(lambda self: exclusions.closed())  # type: ignore[no-untyped-call]


def _named(table: Any) -> set[str]:
    return {*" ".join((*table.SUPPORTED.values(), *table.EXCLUDED.values())).split()}


assert _named(sqlite) == _named(postgresql), _named(sqlite) ^ _named(postgresql)
for name in _named(sqlite):
    setattr(Requirements, name, _requirement(name))
