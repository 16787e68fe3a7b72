"""One question to the database at a time."""

import anyio
import pytest

from allocation.entrypoints.metrics.glance import Glance

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 60


async def test_those_who_ask_at_the_same_time_share_one_answer() -> None:
    """However many scrape, one connection is used."""
    asked, answers = list[int](), list[int]()
    may_answer = anyio.Event()

    async def ask() -> int:
        asked.append(len(asked) + 1)
        await may_answer.wait()
        return asked[-1]

    async def wait_for_it(glance: Glance[int]) -> None:
        answers.append(await glance())

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            glance = Glance(group, ask, patience=LIMIT_SECONDS)
            for _ in range(3):
                group.start_soon(wait_for_it, glance)
            await anyio.wait_all_tasks_blocked()
            may_answer.set()
        async with anyio.create_task_group() as group:
            again = await Glance(group, ask)()

    assert (answers, again) == ([1, 1, 1], 2)


async def test_nobody_waits_for_ever_and_nobody_asks_twice() -> None:
    """A database that says nothing has one question to answer, not one a second."""
    asked = list[int]()

    async def ask() -> int:
        asked.append(1)
        await anyio.sleep_forever()
        return 1

    async with anyio.create_task_group() as group:
        glance = Glance(group, ask, patience=0.01)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await glance()
        group.cancel_scope.cancel()

    assert asked == [1]


async def test_what_went_wrong_is_told_and_the_next_asks_anew() -> None:
    """An outage ends."""
    outages = [OSError("away")]

    async def ask() -> int:
        if outages:
            raise outages.pop()
        return 7

    async with anyio.create_task_group() as group:
        glance = Glance(group, ask)
        with pytest.raises(OSError, match="away"):
            await glance()

        assert await glance() == 7
