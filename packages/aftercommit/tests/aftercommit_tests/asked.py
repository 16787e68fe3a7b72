"""What a database is asked, whichever way its statements go."""

from collections.abc import Iterator
from contextlib import contextmanager

from aftercommit import Database

from aftercommit_tests.driver_calls import Call, watch

ALWAYS = "BEGIN", "NOTIFY", "SELECT aftercommit_handler_pauses.handler"


@contextmanager
def asked_of(*databases: Database) -> Iterator[list[Call]]:
    """Collect the statements that are sent as long as the context is open."""
    asked: list[Call] = []

    def note(call: Call) -> None:
        if call.sql != "COMMIT":
            asked.append(call)

    end = watch(*(database.engine.sync_engine for database in databases), before=note)
    try:
        yield asked
    finally:
        end()


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """Collect what a database is asked inside, but for what comes with any transaction."""
    counted: list[str] = []
    with asked_of(database) as asked:
        yield counted
    counted += [each.sql for each in asked if not each.sql.startswith(ALWAYS)]
