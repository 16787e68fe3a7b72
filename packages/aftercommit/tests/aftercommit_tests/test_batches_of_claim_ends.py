"""Batches of ends of claims, without a database: what shares a write, and who is told what."""

from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import anyio
import pytest
import sqlalchemy as sa
from anyio import create_task_group, wait_all_tasks_blocked

from aftercommit_tests.inside.claims import EventId
from aftercommit_tests.inside.stored import BATCH_SIZE, Batches, ClaimKey, states
from aftercommit_tests.misbehaving import LIMIT_SECONDS

pytestmark = pytest.mark.anyio

NO_DATABASE: Any = SimpleNamespace(backend=SimpleNamespace(single_writer=True))


def key(number: int) -> ClaimKey:
    return ClaimKey(EventId(UUID(int=number)), "announce", 1)


class Writes:
    """What is written at a time; each write takes until the test lets it end."""

    def __init__(self, superseded: Collection[ClaimKey] = ()) -> None:
        self.batches: list[Sequence[ClaimKey]] = []
        self.failure: Exception | None = None
        self._superseded, self._may_end = superseded, anyio.Semaphore(0)
        end = states.done(sa.literal_column("0.0"), 30.0)
        self.ends = Batches(NO_DATABASE, end, end_all=self._write)
        self.told: dict[int, bool | Exception] = {}

    async def _write(self, claims: Sequence[ClaimKey]) -> Collection[ClaimKey]:
        self.batches.append(claims)
        await self._may_end.acquire()
        if self.failure:
            raise self.failure
        return {*claims} - {*self._superseded}

    async def end(self, *numbers: int) -> None:
        """End claims, and note what comes of it under the first number."""
        try:
            self.told[numbers[0]] = await self.ends.write([key(number) for number in numbers])
        except OSError as error:
            self.told[numbers[0]] = error

    async def let_one_end(self) -> None:
        """Let the next write end."""
        self._may_end.release()
        await wait_all_tasks_blocked()


async def test_what_comes_while_a_write_is_under_way_shares_the_next() -> None:
    """However many there are; and each is told about its own."""
    writes = Writes(superseded=[key(3), key(7)])
    with anyio.fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            group.start_soon(writes.end, 1)
            await wait_all_tasks_blocked()
            for numbers in ([2], [3], [4, 6], [5, 7]):
                group.start_soon(writes.end, *numbers)
            await wait_all_tasks_blocked()
            assert writes.batches == [[key(1)]]
            await writes.let_one_end()
            await writes.let_one_end()

    assert writes.batches == [[key(1)], [key(number) for number in range(2, 8)]]
    assert writes.told == {1: True, 2: True, 3: False, 4: True, 5: False}


async def test_a_batch_is_no_longer_than_one_statement_may_be() -> None:
    """The rest is in another one."""
    writes = Writes()
    with anyio.fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            group.start_soon(writes.end, *range(BATCH_SIZE + 1))
            await wait_all_tasks_blocked()
            for _ in range(2):
                await writes.let_one_end()

    assert [len(each) for each in writes.batches] == [BATCH_SIZE, 1]


async def test_a_write_that_fails_is_made_again_by_the_next_who_waits() -> None:
    """Only who has made it is told; the others' claims may end yet."""
    writes = Writes()
    with anyio.fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            group.start_soon(writes.end, 1)
            await wait_all_tasks_blocked()
            group.start_soon(writes.end, 2)
            await wait_all_tasks_blocked()
            writes.failure = OSError("the disk is full")
            await writes.let_one_end()
            writes.failure = None
            await writes.let_one_end()

    assert str(writes.told[1]) == "the disk is full"
    assert writes.told[2] is True
    assert writes.batches[1] == [key(2)]
