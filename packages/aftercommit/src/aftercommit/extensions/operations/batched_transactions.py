"""Long work in small transactions, so that it blocks nobody for long and takes constant memory.

Each batch begins after the last row of the batch before (a keyset), so no row is read twice, even
if it has changed.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import sqlalchemy as sa
from anyio import current_time

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction

Begin = Callable[[], AbstractAsyncContextManager[Transaction]]
Work = Callable[[Transaction, Sequence[Any]], Awaitable[int]]
Advance = Callable[[int], object]
Rows = Sequence[sa.Row[Any]]

BATCH_ROWS = 300


async def for_each_batch(
    begin: Begin,
    rows: sa.Select[Any],
    work: Work,
    advance: Advance = lambda size: None,
    *,
    pause: float = 1.0,
) -> int:
    """Pass the ids of rows to `work`, one batch in one transaction; add up what it returns.

    The rows come in the order of their columns: together a key, of which the last is the id.
    `advance` is called with the size of each batch that is committed. After each batch, it pauses
    for `pause` times the batch's duration: otherwise it could keep others from SQLite's only lock
    for as long as it works.
    """
    key = sa.tuple_(*rows.selected_columns)
    total, batch = 0, rows.order_by(*rows.selected_columns).limit(BATCH_ROWS)
    while True:
        began = current_time()
        found, number = await _run_batch(begin, batch, work)
        total += number
        advance(len(found))
        if len(found) < BATCH_ROWS:
            return total
        batch = batch.where(key > tuple(found[-1]))
        await anyio.sleep((current_time() - began) * pause)


async def _run_batch(begin: Begin, batch: sa.Select[Any], work: Work) -> tuple[Rows, int]:
    async with begin() as transaction:
        found = (await transaction.execute(batch)).all()
        number = await work(transaction, [row[-1] for row in found])
        await transaction.commit()
    return found, number


async def count_rows(database: Database, rows: sa.Select[Any]) -> int:
    """Return how many rows a query finds."""
    counted = sa.select(sa.func.count()).select_from(rows.subquery())
    async with database.read_transaction() as transaction:
        return int((await transaction.execute(counted)).scalar_one())
