"""Handlers that fail, each in its own way: it is theirs alone, and nothing of it is stored."""

import asyncio
from dataclasses import replace

import anyio
import pytest
from aftercommit import InvalidValue, Unavailable
from aftercommit.errors import Defect, HandlerInterrupted
from sqlalchemy import text

from aftercommit_tests.builders import POLICY, a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Handler
from aftercommit_tests.misbehaving import on_made, raising, works
from aftercommit_tests.things.domain import Event, ThingMade
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio


STUCK = OSError("the bell is stuck")
INVALID = InvalidValue("name", "is empty")


class UnprintableError(Exception):
    """An error without words."""

    def __str__(self) -> str:
        raise ValueError


async def fails_on_its_last_line(event: ThingMade, uow: UnitOfWork) -> None:
    uow.write(event.name)
    raise OSError("the fax is out of paper")


async def opens_its_unit_of_work(event: ThingMade, uow: UnitOfWork) -> None:
    async with uow:  # type: ignore[attr-defined]
        uow.write(event.name)


async def commits_its_unit_of_work(event: ThingMade, uow: UnitOfWork) -> None:
    uow.write(event.name)
    await uow.commit()  # type: ignore[attr-defined]


async def test_a_failing_handler_leaves_the_work_of_its_siblings_done(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Handlers are independent: that is why there is more than one.

    The line of the log has event, handler, attempt, error and next time: greppable.
    """

    async def writes(event: ThingMade, uow: UnitOfWork) -> None:
        uow.write(event.name)

    world = await new_world(event_handlers=on_made(raising(STUCK), works, writes))
    report = await world.bus.handle(a_command("lamp"))

    assert await world.lines() == ["lamp"]
    (failure,) = report.failures
    assert (failure.delivery.handler, str(failure.error)) == ("fails", "the bell is stuck")
    ((_, handler), row) = (await world.deliveries()).popitem()
    assert (handler, row.last_error) == ("fails", "OSError: the bell is stuck")
    assert row.available_at == POLICY.retry_initial_seconds
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"fails failed on ThingMade {report.events[0].id}, attempt 1: OSError: the bell is stuck; "
        "next attempt in 1 s"
    ]


async def test_the_log_says_that_an_attempt_without_its_server_does_not_count(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Who reads it at night would otherwise count down to the last attempt."""
    world = await new_world(event_handlers=on_made(raising(Unavailable("the bell"))))
    await world.bus.handle(a_command("lamp"))

    (line,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert line.endswith("Unavailable: the bell; next attempt in 1 s; this one does not count")


@pytest.mark.parametrize(
    ("handler", "attempt"),
    [(raising(INVALID), 1), (opens_its_unit_of_work, POLICY.max_attempts)],
    ids=["a permanent error", "the last attempt"],
)
async def test_a_permanent_error_parks_the_delivery_at_once(
    new_world: NewWorld, handler: Handler[ThingMade, None], attempt: int
) -> None:
    """Trying what can never work again and again only hides it.

    A mistake that stays is parked in the end; until then, a repaired program may still do the work.
    """
    world = await new_world(event_handlers=on_made(handler))
    [claim] = await world.made()

    report = await world.bus.run([replace(claim, attempt=attempt)])

    assert [failure.retry_in for failure in report.failures] == [None]
    assert [row.parked_at for row in (await world.deliveries()).values()] == [0.0]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        # anyone who adds a line, which fails, must not lose work by it: raised means not done
        (fails_on_its_last_line, OSError),
        (opens_its_unit_of_work, TypeError),
        (commits_its_unit_of_work, AttributeError),
        # libraries raise these when a connection is lost; the worker must not end silently
        (raising(SystemExit(1)), HandlerInterrupted),
        (raising(BaseExceptionGroup("all", [SystemExit(0), OSError()])), HandlerInterrupted),
        (raising(asyncio.CancelledError()), HandlerInterrupted),
        (raising(UnprintableError()), Defect),  # its failure could not be stored
    ],
)
async def test_a_handler_that_is_written_wrongly_has_done_nothing_and_is_still_owed(
    new_world: NewWorld, wrong: Handler[ThingMade, None], error: type[Exception]
) -> None:
    """Nothing may count as done that was not done: somebody who copies will write this."""
    world = await new_world(event_handlers=on_made(wrong))

    report = await world.bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [error]
    assert await world.lines() == []
    assert await world.owed() == [wrong.__name__]


async def test_an_error_in_a_child_task_is_known_by_its_kind(new_world: NewWorld) -> None:
    """Not as "unhandled errors in a TaskGroup": nobody could tell what to do, or not to repeat."""

    async def delegates(event: Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(raising(INVALID), event)

    world = await new_world(event_handlers=on_made(delegates))
    report = await world.bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [InvalidValue]
    assert [failure.retry_in for failure in report.failures] == [None]


async def test_the_first_error_of_a_group_keeps_its_cause_and_notes_the_others(
    new_world: NewWorld,
) -> None:
    """The reason stands in the cause: without it, "not available" is all that the log says."""
    reason = InvalidValue("name", "is empty")
    reason.__cause__ = OSError("connection refused")
    inner = ExceptionGroup("inside", [reason, ValueError("second")])
    handlers = on_made(raising(ExceptionGroup("outside", [inner, KeyError("third")])))
    world = await new_world(event_handlers=handlers)
    [failure] = (await world.bus.handle(a_command())).failures

    assert str(failure.error.__cause__) == "connection refused"
    notes = failure.error.__notes__
    assert [note.partition(": ")[2] for note in notes] == [
        "ValueError: second",
        "KeyError: 'third'",
    ]


async def test_a_failure_that_cannot_be_stored_is_still_reported(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is as it was, so the delivery falls due when its lease ends."""

    async def fails_with_the_database(event: Event) -> None:
        await world.execute(text("ALTER TABLE aftercommit_deliveries RENAME TO elsewhere"))
        raise OSError("all is lost")

    world = await new_world(event_handlers=on_made(fails_with_the_database))
    report = await world.bus.handle(a_command())

    assert [failure.retry_in for failure in report.failures] == [POLICY.lease_seconds]
    assert "could not be stored: " in caplog.text
    await world.execute(text("ALTER TABLE elsewhere RENAME TO aftercommit_deliveries"))
    assert [row.held for row in (await world.deliveries()).values()] == [True]
