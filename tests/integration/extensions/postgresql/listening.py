"""Listening from the moment on when nothing can be missed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from aftercommit.sql.database import Database


@asynccontextmanager
async def listening(database: Database, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Call `wake` at each notification; the body begins when it listens, which is no call."""
    begun = anyio.Event()
    async with database.listen(lambda: wake() if begun.is_set() else begun.set()):
        with anyio.fail_after(60):
            await begun.wait()
        yield
