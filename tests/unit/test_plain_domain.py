"""A domain that imports nothing: the engine knows what it needs of it by attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aftercommit.errors import is_permanent, slug_of
from aftercommit.process.error_handling import exit_code

from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import FakeApplication


@dataclass(frozen=True, slots=True)
class Paint:
    """A command of no base class."""

    colour: str


@dataclass(frozen=True, slots=True)
class Painted:
    """An event of no base class."""

    colour: str


class NotAColour(Exception):  # noqa: N818 - the name is the fact
    """An error with nothing but a kind."""

    error_kind = "refused"


class Wall:
    """An aggregate of no base class."""

    subject, version = "the wall", 0
    new_parts: Sequence[object] = ()

    def __init__(self, colour: str) -> None:
        self.events = [Painted(colour)]

    def pull_events(self) -> Sequence[object]:
        drained, self.events = self.events, []
        return drained


async def paint(command: Paint, uow: UnitOfWork) -> None:
    if command.colour == "loud":
        raise NotAColour(command.colour)
    uow._store.add(Wall(command.colour))


async def look(event: Painted) -> None:
    if event.colour == "grey":
        raise NotAColour(event.colour)


def application() -> FakeApplication:
    commands: dict[Any, Any] = {Paint: paint}
    events: dict[Any, Any] = {Painted: [look]}
    return FakeApplication(command_handlers=commands, event_handlers=events)


@pytest.mark.anyio
async def test_the_engine_stores_and_handles_what_such_aggregates_record() -> None:
    """A domain that has to inherit from an engine cannot be tested, or moved, without it."""
    report = await application().bus.handle(Paint("red"))

    assert [(e.event, e.subject) for e in report.events] == [(Painted("red"), "the wall")]
    assert report.failures == []


@pytest.mark.anyio
async def test_an_error_of_such_a_domain_is_what_its_kind_says() -> None:
    """One that is taken for a bug ends with 70, and is tried again for hours."""
    with pytest.raises(NotAColour) as refusal:
        await application().bus.handle(Paint("loud"))
    report = await application().bus.handle(Paint("grey"))

    assert (exit_code(refusal.value), slug_of(refusal.value)) == (1, "not-a-colour")
    assert is_permanent(refusal.value)
    assert [failure.retry_in for failure in report.failures] == [None]  # parked
