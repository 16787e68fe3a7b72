"""What follows from what: a handler of each kind."""

from datetime import timedelta

from aftercommit import PUBLISH, Codec, Handlers, IdempotencyKey, Later, on

from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import (
    BreakThing,
    Command,
    Event,
    MakeThing,
    RenameThing,
    Thing,
    ThingBroken,
    ThingMade,
    ThingPolished,
    ThingRenamed,
)
from aftercommit_tests.things.storage import UnitOfWork


async def make_thing(command: MakeThing, uow: UnitOfWork) -> None:
    """Make a thing, unless it is there."""
    if await uow.things.find(command.thing_id) is None:
        uow.things.add(Thing.make(command.thing_id, command.name))


async def rename_thing(command: RenameThing, uow: UnitOfWork) -> None:
    """Give a thing another name."""
    (await uow.things.get(command.thing_id)).rename(command.name)


async def break_thing(command: BreakThing, uow: UnitOfWork) -> None:
    """Let a thing fall down."""
    (await uow.things.get(command.thing_id)).fall()


async def announce(
    event: ThingMade, bell: Bell, idempotency_key: IdempotencyKey
) -> BreakThing | None:
    """Have an effect outside; what is cracked falls down by it: the answer is a command."""
    if await bell.ring(event.name, idempotency_key=idempotency_key):
        return None
    return BreakThing(thing_id=event.thing_id)


async def look_at(event: ThingMade | ThingRenamed) -> None:
    """Have no effect at all: doing it again does no harm."""


async def write_down(event: ThingMade, uow: UnitOfWork) -> None:
    """Have an effect in the database."""
    uow.write(event.name)


async def polish(event: ThingMade, uow: UnitOfWork) -> None:
    """Cause one more event."""
    (await uow.things.get(event.thing_id)).polish()


async def praise(event: ThingPolished, bell: Bell, idempotency_key: IdempotencyKey) -> None:
    """Have an effect outside that follows from one in the database."""
    await bell.ring(f"{event.name} shines", idempotency_key=idempotency_key)


async def forget(event: ThingMade, uow: UnitOfWork) -> None:
    """Have an effect after a day."""
    uow.write(f"{event.name} is forgotten")


HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[
        on(MakeThing, make_thing),
        on(RenameThing, rename_thing),
        on(BreakThing, break_thing),
    ],
    events=[
        on(
            ThingMade,
            announce,
            look_at,
            write_down,
            polish,
            Later(forget, after=timedelta(days=1)),
            PUBLISH,
        ),
        on(ThingPolished, praise),
        on(ThingRenamed, PUBLISH),
        on(ThingBroken),
    ],
    projections=[look_at],
)
EVENTS: list[type[Event]] = [ThingMade, ThingPolished, ThingRenamed, ThingBroken]
CODEC: Codec[Event] = Codec(
    source="/things",
    events=EVENTS,
    describe=lambda event: "" if (name := getattr(event, "name", "")).startswith(".") else name,
)
