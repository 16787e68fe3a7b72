"""Detects a pooler, between this process and the server, that shares sessions among clients.

Work that needs a session of its own, to listen or to set a time limit, fails over such a pooler:
notifications are lost, and time limits apply to others. PgBouncer calls this transaction pooling.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from anyio import create_task_group, move_on_after
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aftercommit.extensions.postgresql.connections import drop

PROBE_SECONDS = 5.0  # two open transactions may wait for each other without end
NAME = "aftercommit.session"  # of a setting that nobody else has; it ends with its session
MARK = text(f"SELECT pg_backend_pid() AS pid, set_config('{NAME}', :mark, false) AS mark")
LOOK = text(f"SELECT pg_backend_pid() AS pid, current_setting('{NAME}', true) AS mark")

Connect = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


async def sessions_are_shared(engine: AsyncEngine) -> bool:
    """Return whether two connections were seen to share a session, or one to have two.

    If it is inconclusive, by an error or a late answer, sessions count as not shared.
    """
    with move_on_after(PROBE_SECONDS):
        try:
            async with AsyncExitStack() as opened:
                first = await _opened(opened, engine)
                marked = await _ask(first, MARK, mark=str(uuid4()))
                await first.commit()
                second = await _opened(opened, engine)
                other = await _ask(second, LOOK)  # it stays in its transaction
                if other.pid == marked.pid or other.mark == marked.mark:
                    return True
                return await _ask(first, LOOK) != marked
        except Exception:  # the next one who works on the database reports what is wrong
            return False
    return False


async def count_connections(engine: AsyncEngine, wanted: int, connect: Connect) -> int:
    """Open this many connections at once, and return how many of them can be used."""
    usable = 0

    async def use(connection: AsyncConnection) -> None:
        nonlocal usable
        try:
            await connect(connection.start)
            usable += 1
        except Exception:
            return

    connections = [engine.connect() for _ in range(wanted)]
    try:
        async with create_task_group() as group:
            for each in connections:
                group.start_soon(use, each)
    finally:
        for each in connections:
            await drop(each)
    return usable


async def _opened(opened: AsyncExitStack, engine: AsyncEngine) -> AsyncConnection:
    connection = engine.connect()
    opened.push_async_callback(drop, connection)
    return await connection.start()


async def _ask(connection: AsyncConnection, statement: Any, **values: str) -> Row[Any]:
    return (await connection.execute(statement, values)).one()
