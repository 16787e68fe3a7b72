"""Rows that cannot work: mypy has to report each line that has a `type: ignore` here."""

from datetime import timedelta

from aftercommit.codec import Codec
from aftercommit.envelopes import message_types
from aftercommit.handler_table import PUBLISH, Handlers, Later, Unsubscribed, on

from aftercommit_tests.things import domain
from aftercommit_tests.things.domain import (
    Command,
    Event,
    MakeThing,
    RenameThing,
    ThingBroken,
    ThingMade,
    ThingRenamed,
)
from aftercommit_tests.things.storage import UnitOfWork


async def welcome(event: ThingMade, uow: UnitOfWork) -> None:
    """Handle one event."""


async def note(event: ThingMade | ThingRenamed) -> None:
    """Handle two."""


async def publish(event: Event) -> None:
    """Handle any."""


async def ask(event: ThingMade) -> RenameThing | None:
    """Return a command, or not."""


async def count(event: ThingMade) -> int:
    """Return what is no command."""
    return 1


async def echo(event: ThingMade) -> ThingMade:
    """Return what is no command, but an event."""
    return event


def forget_the_async(event: ThingMade) -> None:
    """Have an effect before anybody can notice."""


async def make(command: MakeThing, uow: UnitOfWork) -> None:
    """Handle a command."""


async def make_and_ask(command: MakeThing, uow: UnitOfWork) -> RenameThing:
    """Return a command from the handler of a command, which nobody would execute."""
    return RenameThing(thing_id=command.thing_id, name=command.name)


DAY = timedelta(days=1)

HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[on(MakeThing, make), on(RenameThing)],
    events=[
        on(
            ThingMade,
            welcome,
            note,
            publish,
            ask,
            Later(welcome, after=DAY),
            Later(ask, after=DAY),
            Unsubscribed(note),
            PUBLISH,
        ),
        on(ThingRenamed, note, publish, Later(note, after=lambda settings: 7.0)),
        on(ThingBroken),
    ],
)
EVENTS: Codec[Event] = Codec(source="/it", events=message_types(domain, Event))

on(ThingRenamed, welcome)  # type: ignore[arg-type]
on(ThingRenamed, Later(welcome, after=DAY))  # type: ignore[arg-type]
on(ThingRenamed, Unsubscribed(welcome))  # type: ignore[arg-type]
on(ThingMade, forget_the_async)  # type: ignore[arg-type]
on(ThingMade, make)  # type: ignore[arg-type]
on(MakeThing, welcome)  # type: ignore[arg-type]
on(ThingMade, Later(welcome, after="a day"))  # type: ignore[arg-type]

WRONG: Handlers[Command, Event] = Handlers(
    commands=[
        on(ThingMade, welcome),  # type: ignore[list-item]
        on(RenameThing, make),  # type: ignore[arg-type]
        on(MakeThing, make_and_ask),  # type: ignore[arg-type]
    ],
    events=[
        on(MakeThing, make),  # type: ignore[list-item]
        on(ThingRenamed, welcome),  # type: ignore[arg-type]
        on(ThingMade, count),  # type: ignore[arg-type]
        on(ThingMade, echo),  # type: ignore[arg-type]
        on(ThingMade, Later(count, after=DAY)),  # type: ignore[arg-type]
        on(ThingMade, Unsubscribed(count)),  # type: ignore[arg-type]
    ],
)
EXCHANGED: Handlers[Event, Command] = HANDLERS  # type: ignore[assignment]
COMMANDS: Codec[Event] = Codec(
    source="/it",
    events=message_types(domain, Command),  # type: ignore[arg-type]
)
OF_COMMANDS: Codec[Command] = EVENTS  # type: ignore[assignment]
