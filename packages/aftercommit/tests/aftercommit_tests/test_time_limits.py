"""The time that a handler may take: it counts from its begin, and ends before the lease does."""

from contextlib import suppress
from dataclasses import replace

import anyio
import pytest
from aftercommit.errors import HandlerTimeout, LeaseExpired

from aftercommit_tests.builders import POLICY, a_command, a_thing
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Handler
from aftercommit_tests.misbehaving import LIMIT_SECONDS, on_made, writes_and_hangs
from aftercommit_tests.things.domain import Event, MakeThing, ThingMade
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

# a busy machine must come to the handler before it is over
IMPATIENT = replace(POLICY, handler_timeout_seconds=3.0)
PATIENT = replace(POLICY, handler_timeout_seconds=1000, lease_seconds=2000)


async def looks(event: Event) -> None:
    deadlines.append(anyio.current_effective_deadline())


async def looks_in_the_database(event: Event, uow: UnitOfWork) -> None:
    deadlines.append(anyio.current_effective_deadline())


deadlines: list[float] = []


async def test_a_command_that_takes_too_long_fails_and_stores_nothing(new_world: NewWorld) -> None:
    """Anyone who waits for it gets an answer, and can give it again."""

    async def hangs(command: MakeThing, uow: UnitOfWork) -> None:
        uow.things.add(a_thing())
        await anyio.sleep_forever()

    handlers = {**HANDLERS.commands, MakeThing: hangs}
    world = await new_world(command_handlers=handlers, policy=IMPATIENT)
    with anyio.fail_after(LIMIT_SECONDS), pytest.raises(HandlerTimeout, match="longer than 3 s"):
        await world.bus.handle(a_command())

    assert await world.things() == []


@pytest.mark.parametrize(
    ("handler", "latest"),
    [(looks_in_the_database, POLICY.lease_seconds), (looks, POLICY.begin_seconds)],
)
async def test_no_attempt_begins_when_its_lease_may_be_over_before_it_ends(
    new_world: NewWorld, handler: Handler[ThingMade, None], latest: float
) -> None:
    """Anyone who dispatches late could run while another process has taken over."""
    deadlines.clear()
    world = await new_world(event_handlers=on_made(handler))
    [claim] = await world.made()

    report = await world.bus.run([replace(claim, leased_at=claim.leased_at - latest)])

    assert deadlines == []
    assert [failure.retry_in for failure in report.failures] == [0.0]
    assert await world.untouched() == [handler.__name__]


async def test_the_time_limit_counts_from_the_begin_of_the_handler(new_world: NewWorld) -> None:
    """What it has waited before is not its fault."""
    deadlines.clear()
    handlers = on_made(looks, looks_in_the_database)
    world = await new_world(event_handlers=handlers, policy=PATIENT)
    late = [replace(each, leased_at=each.leased_at - 500) for each in await world.made()]

    await world.bus.run(late)

    end = anyio.current_time() + PATIENT.handler_timeout_seconds
    assert deadlines == [pytest.approx(end, abs=100)] * 2


async def test_who_is_stopped_by_the_end_of_its_lease_is_not_at_fault(new_world: NewWorld) -> None:
    """It waited for others before; nothing of it is stored, and the attempt does not count."""
    world = await new_world(event_handlers=on_made(writes_and_hangs), policy=PATIENT)
    [claim] = await world.made()
    latest = PATIENT.begin_seconds + PATIENT.handler_timeout_seconds
    late = replace(claim, leased_at=anyio.current_time() - latest + 0.2)

    with anyio.fail_after(LIMIT_SECONDS):
        report = await world.bus.run([late])

    assert [type(failure.error) for failure in report.failures] == [LeaseExpired]
    assert await world.lines() == []
    assert await world.untouched() == ["writes_and_hangs"]


async def test_a_handler_that_returns_although_its_time_is_over_has_done_its_work(
    new_world: NewWorld,
) -> None:
    """Its effect is out: if its delivery was not completed now, the effect would be repeated."""

    async def swallows(event: Event) -> None:
        with suppress(anyio.get_cancelled_exc_class()):
            await anyio.sleep_forever()

    world = await new_world(event_handlers=on_made(swallows), policy=IMPATIENT)
    with anyio.fail_after(LIMIT_SECONDS):
        report = await world.bus.handle(a_command())

    assert (report.failures, len(await world.finished())) == ([], 1)
