"""A commit wakes the workers of all processes: by NOTIFY, over connections of their own."""

from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from aftercommit import Database
from anyio import to_thread
from sqlalchemy import text

from aftercommit_tests.extensions.postgresql.server import (
    ENOUGH_SECONDS,
    change_from_outside,
    listening,
    value,
)
from aftercommit_tests.inside.postgresql import PAUSE_SECONDS
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "asyncio-psycopg", "trio-anyio")]

LONG = 3600.0  # in which a listener does not look by itself
NOTIFY = "NOTIFY things_deliveries"


async def write(database: Database, *, commits: bool = True) -> None:
    """Store something that workers have to know of."""
    async with database.write_transaction() as transaction:
        await transaction.execute(text("SELECT 1"))
        transaction.notify_workers()
        if commits:
            await transaction.commit()


async def test_a_commit_wakes_the_workers_of_other_processes(url: str) -> None:
    """Each of many: a worker sleeps again after the one before."""
    async with (
        open_database(url) as front_end,
        open_database(url, handler_timeout=LONG) as back_end,
    ):
        for _ in range(5):
            wake = anyio.Event()
            async with listening(back_end, wake.set):
                await write(front_end)
                with anyio.fail_after(ENOUGH_SECONDS):
                    await wake.wait()


async def test_many_commits_are_few_notifications(url: str) -> None:
    """Each NOTIFY takes a lock over all databases of the server when it is committed."""
    wakes, heard = list[None](), anyio.Event()

    def wake() -> None:
        wakes.append(None)
        heard.set()

    async with (
        open_database(url, handler_timeout=LONG) as woken,
        listening(woken, wake),
        open_database(url) as committing,
    ):
        begun = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(write, committing)
        with anyio.fail_after(ENOUGH_SECONDS):
            await heard.wait()
        seconds = anyio.current_time() - begun

    assert len(wakes) <= 2 + seconds / PAUSE_SECONDS  # a timer may be a little early


async def test_a_process_that_ends_after_its_commit_has_notified(url: str) -> None:
    """A command stores, and is gone within milliseconds; one that rolls back has nothing to say."""
    heard = anyio.Event()
    async with open_database(url, handler_timeout=LONG) as woken, listening(woken, heard.set):
        for commits in (False, True):
            assert not heard.is_set()
            async with open_database(url) as database:
                await write(database, commits=commits)

        with anyio.fail_after(ENOUGH_SECONDS):
            await heard.wait()


async def test_nobody_is_woken_by_another_application(url: str) -> None:
    """The server tells all that listen in the order of the commits, so the last one has come."""
    heard: dict[str, list[str]] = {"things": [], "shop": []}
    woken = {name: anyio.Event() for name in heard}

    def wake(name: str) -> None:
        heard[name].append(sender)
        woken[name].set()

    async with AsyncExitStack() as opened:
        databases = {}
        for name in heard:
            opening = open_database(url, application=name, handler_timeout=LONG)
            databases[name] = await opened.enter_async_context(opening)
            await opened.enter_async_context(listening(databases[name], partial(wake, name)))
        for sender in ("things", "shop"):
            await write(databases[sender])
            with anyio.fail_after(ENOUGH_SECONDS):
                await woken[sender].wait()

    assert heard == {"things": ["things"], "shop": ["shop"]}


async def test_listening_takes_no_connection_from_those_who_work(url: str) -> None:
    """A worker with a pool of one would otherwise wait for itself forever."""
    async with open_database(url, connections=1) as database, listening(database, lambda: None):
        with anyio.fail_after(ENOUGH_SECONDS):
            assert await value(database) == 1


@pytest.mark.parametrize("loss", ["cut", "freeze"])
async def test_a_lost_connection_that_listens_is_opened_again(
    proxied: tuple[str, Proxy], postgres_url: str, loss: str
) -> None:
    """Or a worker would poll from then on; and what was said meanwhile is heard as one wake."""
    url, proxy = proxied
    wakes, woken = list[None](), anyio.Event()

    def wake() -> None:
        wakes.append(None)
        woken.set()

    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=1) as database, listening(database, wake):
            getattr(proxy, loss)()
            proxy.open()
            await woken.wait()
            before = len(wakes)
            while len(wakes) == before:
                await to_thread.run_sync(change_from_outside, postgres_url, NOTIFY)
                await anyio.sleep(0.1)
