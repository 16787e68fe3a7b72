# extension: postgresql
"""The registration in plain SQL on asyncpg alone: what no layer above it can beat."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg

from benchmarks.registration_by_hand import POOL
from benchmarks.registration_sql import Execute, Registration, Values, statements


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Registration]:
    """Open a pool, as large as the others', and return what registers a user on it."""
    texts = {name: numbered(sql) for name, sql in statements("postgresql").items()}
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:

        @asynccontextmanager
        async def transaction(*, reads: bool = False) -> AsyncIterator[Execute]:
            async with pool.acquire() as connection, connection.transaction():

                async def execute(name: str, *values: Values) -> Sequence[Any] | None:
                    return await _execute(connection, *texts[name], values)

                yield execute

        yield Registration(transaction, uuid4)


async def _execute(
    connection: Any, sql: str, names: Sequence[str], values: Sequence[Values]
) -> Sequence[Any] | None:
    in_order = [[each[name] for name in names] for each in values]
    if len(values) > 1:
        await connection.executemany(sql, in_order)
        return None
    row: Sequence[Any] | None = await connection.fetchrow(sql, *(in_order[0] if values else ()))
    return row


def numbered(sql: str) -> tuple[str, Sequence[str]]:
    """Return a statement with $1 in the place of :name, and the names in their order."""
    names = list(dict.fromkeys(re.findall(r"(?<!:):(\w+)", sql)))
    return re.sub(r"(?<!:):(\w+)", lambda found: f"${names.index(found[1]) + 1}", sql), names
