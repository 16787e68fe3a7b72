"""The pauses that a process knows, without a database: when it asks, and what it goes by."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from aftercommit.errors import HandlerPaused
from anyio import create_task_group, wait_all_tasks_blocked

from aftercommit_tests.inside import stored
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.misbehaving import LIMIT_SECONDS

pytestmark = pytest.mark.anyio


class Asked:
    """Stands for a database: it says what is paused, and counts how often it was asked."""

    def __init__(self, *paused: str) -> None:
        self.paused, self.times = paused, 0
        self.may_answer = anyio.Event()
        self.may_answer.set()
        self.failure: Exception | None = None

    @asynccontextmanager
    async def probe_transaction(self) -> AsyncIterator[Any]:
        yield self

    async def execute(self, statement: object) -> Any:
        self.times += 1
        await self.may_answer.wait()
        if self.failure:
            raise self.failure
        return SimpleNamespace(scalars=lambda: self.paused)


def knowing(asked: Asked) -> stored.pauses.KnownPauses:
    stand_in: Any = asked
    return stored.pauses.KnownPauses(stand_in)


async def test_a_paused_handler_does_not_begin() -> None:
    """Another one does."""
    pauses = knowing(Asked("announce"))

    await pauses.ensure_not_paused("write_down")
    with pytest.raises(HandlerPaused):
        await pauses.ensure_not_paused("announce")


async def test_all_that_begin_at_a_time_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go by what the first of them reads; later, another one asks again."""
    asked = Asked()
    pauses, asked.may_answer = knowing(asked), anyio.Event()
    monkeypatch.setattr(stored.pauses, "PAUSES_SECONDS", inf)
    with anyio.fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            for handler in ("announce", "write_down", "look_at"):
                group.start_soon(pauses.ensure_not_paused, handler)
            await wait_all_tasks_blocked()
            asked.may_answer.set()

    assert asked.times == 1


async def test_what_is_known_is_asked_again_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator does not wait for long until a pause counts."""
    asked = Asked()
    pauses = knowing(asked)
    monkeypatch.setattr(stored.pauses, "PAUSES_SECONDS", -1.0)
    await pauses.ensure_not_paused("announce")

    asked.paused = ("announce",)

    with pytest.raises(HandlerPaused):
        await pauses.ensure_not_paused("announce")
    assert asked.times == 2


async def test_while_the_database_is_away_pauses_count_as_they_were_known(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Effects outside go on without it; and it is not asked for each of them."""
    asked = Asked("announce")
    pauses = knowing(asked)
    monkeypatch.setattr(stored.pauses, "PAUSES_SECONDS", -1.0)
    await pauses.ensure_not_paused("write_down")

    asked.failure = DatabaseUnavailable("it is restarted")
    monkeypatch.setattr(stored.pauses, "PAUSES_SECONDS", inf)

    for _ in range(2):
        await pauses.ensure_not_paused("write_down")
        with pytest.raises(HandlerPaused):
            await pauses.ensure_not_paused("announce")
    assert asked.times == 2
    assert "the last known ones apply" in caplog.text
