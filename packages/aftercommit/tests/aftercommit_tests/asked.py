"""What a database is asked, whichever way its statements go."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aftercommit.extensions.postgresql import autocommit
from aftercommit.sql.database import Database
from sqlalchemy import event


@dataclass(frozen=True)
class Asked:
    """A statement, its parameters, and whether it is one for each of several rows."""

    sql: str
    values: Any
    is_series: bool = False


@contextmanager
def asked_of(*databases: Database) -> Iterator[list[Asked]]:
    """Collect the statements that are sent as long as the context is open."""
    asked: list[Asked] = []

    def note(_: object, __: object, sql: str, values: Any, ___: object, is_series: bool) -> None:
        asked.append(Asked(sql, values, is_series))

    with ExitStack() as until:
        for database in databases:
            engine = database.engine.sync_engine
            event.listen(engine, "before_cursor_execute", note)
            until.callback(event.remove, engine, "before_cursor_execute", note)
        single = autocommit.SingleStatements
        fetch = single.fetch  # SQLAlchemy does not see these

        async def noted(self: Any, sql: str, values: Any) -> Any:
            asked.append(Asked(sql, tuple(values)))
            return await fetch(self, sql, values)

        until.enter_context(pytest.MonkeyPatch.context()).setattr(single, "fetch", noted)
        yield asked


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """Collect what a database is asked inside, but for what comes with any transaction."""
    counted: list[str] = []
    with asked_of(database) as asked:
        yield counted
    ignored = "BEGIN", "NOTIFY", "SELECT aftercommit_handler_pauses.handler"
    counted += [each.sql for each in asked if not each.sql.startswith(ignored)]
