"""The registration in plain SQL on the driver alone: what no layer above it can beat."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

from benchmarks.registration_by_hand import PRAGMAS
from benchmarks.registration_sql import Execute, Registration, Values, new_hex, statements


@asynccontextmanager
async def by_sqlite3(
    file: str, trace: Callable[[str], None] | None = None
) -> AsyncIterator[Registration]:
    """Open one connection, in this very thread, and return what registers a user, one at a time.

    `trace` is told of every statement.
    """
    texts = statements("sqlite")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.set_trace_callback(trace)

        async def execute(name: str, *values: Values) -> Sequence[Any] | None:
            if len(values) > 1:
                connection.executemany(texts[name], values)
                return None
            row: Sequence[Any] | None = connection.execute(texts[name], *values).fetchone()
            return row

        @asynccontextmanager
        async def transaction(*, reads: bool = False) -> AsyncIterator[Execute]:
            connection.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
            yield execute
            connection.execute("COMMIT")

        yield Registration(transaction, new_hex)
