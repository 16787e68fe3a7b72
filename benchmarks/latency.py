# room: postgresql
"""Measures how long a handler in another process waits after a commit, in milliseconds: the median.

The limit is a bare NOTIFY of PostgreSQL to a connection of asyncpg that listens.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from statistics import median

import anyio
from anyio.streams.text import TextReceiveStream

from allocation.bootstrap import bootstrap
from allocation.domain.events import UserRegistered
from benchmarks.application import handled_by, registration, settings_for
from benchmarks.due import LIMIT_SECONDS, connected
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.results import Topic
from benchmarks.servers import new_database, template
from benchmarks.worker_process import CALLED, no_op, workers

PAUSE_SECONDS = 0.02  # so that the worker sleeps when the next one comes


def ours(times: int) -> float:
    """Measure a registration that is left to a worker in another process."""
    with new_database(template()) as url:
        return anyio.run(_ours, url, times)


async def _ours(url: str, times: int) -> float:
    waited = []
    async with AsyncExitStack() as stack:
        stack.enter_context(anyio.fail_after(LIMIT_SECONDS))
        (process,) = await stack.enter_async_context(workers(url, 1, "told"))
        stack.enter_context(handled_by({UserRegistered: [no_op]}))
        settings = settings_for(url, dispatch="worker")
        application = await stack.enter_async_context(bootstrap(settings))
        assert process.stdout
        calls = _calls(TextReceiveStream(process.stdout))
        for _ in range(times):
            await application.bus.execute(registration())
            committed = time.monotonic()
            waited.append(await anext(calls) - committed)
            await anyio.sleep(PAUSE_SECONDS)
    return median(waited) * 1000


async def _calls(stream: TextReceiveStream) -> AsyncIterator[float]:
    text = ""
    async for part in stream:
        text += part
        *lines, text = text.split("\n")
        for line in lines:
            if line.startswith(CALLED):
                yield float(line.removeprefix(CALLED))


def bare(times: int) -> float:
    """Measure NOTIFY."""
    with new_database() as url:
        return anyio.run(_bare, url, times)


async def _bare(url: str, times: int) -> float:
    waited = []
    async with connected(url) as one, connected(url) as other:
        send, receive = anyio.create_memory_object_stream[float](1)
        await other.add_listener("news", lambda *_: send.send_nowait(time.monotonic()))
        for _ in range(times):
            sent = time.monotonic()
            await one.execute("NOTIFY news")
            waited.append(await receive.receive() - sent)
            await anyio.sleep(PAUSE_SECONDS)
        send.close()
        receive.close()
    return median(waited) * 1000


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one; it is not the ratio that has a goal."""
    times = effort.pick(40, 200)
    yield Contest(
        what="commit to handler, another process",
        unit="ms",
        ours=partial(ours, times),
        ways=[Way(name="NOTIFY", once=partial(bare, times), is_limit=True)],
        goal=Goal(20, at_most=True),
    )


TOPIC = Topic(
    name="latency",
    title="From the commit to the handler in another process",
    meaning=(
        "A registration is committed and left to a worker, which sleeps in another process:"
        " PostgreSQL's NOTIFY wakes it, it looks, claims, and calls the handler. The limit is a"
        " NOTIFY that nobody does anything about."
    ),
    contests=contests,
)
