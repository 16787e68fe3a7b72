"""Long work in small transactions, so that it holds nobody up and takes constant memory.

Each batch says where the next one begins: behind the last row that this one has looked at (a
keyset), so no row is looked at twice, whatever has become of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import anyio
import sqlalchemy as sa
from anyio import current_time

K = TypeVar("K")

BATCH_ROWS = 300
AS_LONG_AGAIN = 1.0

Key = tuple[float, UUID]
START: Key = (0.0, UUID(int=0))


async def in_batches(
    batch: Callable[[K], Awaitable[tuple[int, K | None]]],
    first: K | None,
    *,
    pause: float = AS_LONG_AGAIN,
) -> int:
    """Run one batch after the other, from `first` on, until there is no next one; add them up.

    `pause`: how many times as long as a batch has taken others have for themselves after it. A
    writer without any could keep them from SQLite's only lock for as long as it works.
    """
    total, position = 0, first
    while position is not None:
        began = current_time()
        count, position = await batch(position)
        total += count
        await anyio.sleep((current_time() - began) * pause)
    return total


def page(time: sa.Column[float], id_: sa.Column[Any], after: Key) -> sa.Select[Any]:
    """Select the next rows of a table, the oldest first: their times and ids, after this one."""
    key = sa.tuple_(time, id_)
    return sa.select(time, id_).where(key > after).order_by(time, id_).limit(BATCH_ROWS)


def next_after(rows: Sequence[sa.Row[Any]]) -> Key | None:
    """Return where the next page begins; None if there was no whole page any more."""
    return tuple(rows[-1]) if len(rows) == BATCH_ROWS else None
