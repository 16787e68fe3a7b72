"""Rows that cannot work: each type checker has to report each line that has a `type: ignore` here.

It has to report no other line, also in its strict mode.
"""

from datetime import timedelta

from aftercommit import (
    PUBLISH,
    Codec,
    GivenUp,
    Handlers,
    Later,
    Limited,
    Ordered,
    Otherwise,
    Outbox,
    Unsubscribed,
    on,
)
from sqlalchemy.orm import Session, sessionmaker

from aftercommit_tests.things.domain import (
    Command,
    Event,
    MakeThing,
    RenameThing,
    ThingMade,
    ThingRenamed,
)
from aftercommit_tests.things.handlers import CODEC, HANDLERS, announce, make_thing, write_down
from aftercommit_tests.things.storage import UnitOfWork

DAY = timedelta(days=1)


async def note(event: ThingMade | ThingRenamed) -> None:
    """Handle two events."""


async def count(event: ThingMade) -> int:
    """Return what is no command."""
    return 1


async def echo(event: ThingMade) -> ThingMade:
    """Return what is no command, but an event."""
    return event


def in_a_thread(event: ThingMade, session: Session) -> None:
    """Handle an event in synchronous code."""


def count_in_a_thread(event: ThingMade, session: Session) -> int:
    """Return what is no command, in synchronous code."""
    return 1


async def rename(event: ThingMade, failure: GivenUp) -> RenameThing:
    """Return a command, instead of another handler."""
    return RenameThing(thing_id=event.thing_id, name=failure.reason)


async def rename_again(event: ThingRenamed, failure: GivenUp) -> RenameThing:
    """Do the same for another event."""
    return RenameThing(thing_id=event.thing_id, name=failure.reason)


async def make_and_ask(command: MakeThing, uow: UnitOfWork) -> RenameThing:
    """Return a command from the handler of a command, which nobody would execute."""
    return RenameThing(thing_id=command.thing_id, name=command.name)


on(ThingMade, note, Later(announce, after=DAY), Unsubscribed(write_down))
on(ThingRenamed, note, Later(note, after=lambda settings: 7.0))
on(ThingMade, Ordered(write_down), Ordered(PUBLISH), key=lambda event: event.thing_id)
on(ThingRenamed, Ordered(write_down))  # type: ignore[arg-type]
on(ThingMade, Ordered(Later(note, after=DAY)))  # type: ignore[arg-type]
on(ThingMade, note, key=lambda event: event.colour)  # type: ignore[attr-defined]
on(ThingRenamed, write_down)  # type: ignore[arg-type]
on(ThingRenamed, Later(write_down, after=DAY))  # type: ignore[arg-type]
on(ThingRenamed, Unsubscribed(write_down))  # type: ignore[arg-type]
on(ThingMade, in_a_thread, note, Later(in_a_thread, after=DAY), Ordered(in_a_thread))
on(ThingMade, Unsubscribed(in_a_thread))
on(ThingMade, Unsubscribed(in_a_thread), note)
on(ThingMade, count_in_a_thread)  # type: ignore[arg-type]
on(ThingRenamed, in_a_thread)  # type: ignore[arg-type]
on(ThingRenamed, Later(in_a_thread, after=DAY))  # type: ignore[arg-type]
on(ThingRenamed, Ordered(in_a_thread))  # type: ignore[arg-type]
on(ThingMade, make_thing)  # type: ignore[arg-type]
on(MakeThing, write_down)  # type: ignore[arg-type]
on(ThingMade, Later(write_down, after="a day"))  # type: ignore[arg-type]
on(ThingMade, Limited(note, at_once=5), Limited(Later(announce, after=DAY), per_minute=100))
on(ThingMade, Limited(Unsubscribed(write_down), at_once=5, per_minute=100, name="bank"))
on(ThingMade, Limited(in_a_thread, at_once=lambda settings: 5))
on(ThingRenamed, Limited(write_down, at_once=5))  # type: ignore[arg-type]
on(ThingRenamed, Limited(Later(write_down, after=DAY), at_once=5))  # type: ignore[arg-type]
on(ThingMade, Limited(Ordered(note), at_once=5))  # type: ignore[arg-type]
on(ThingMade, Limited(PUBLISH, at_once=5))  # type: ignore[arg-type]
on(ThingMade, Later(Limited(note, at_once=5), after=DAY))  # type: ignore[arg-type]
on(ThingMade, Ordered(Limited(note, at_once=5)))  # type: ignore[arg-type]
on(ThingMade, Limited(note, at_once="5"))  # type: ignore[arg-type]
on(ThingMade, Limited(note, per_minute=2.5))  # type: ignore[arg-type]
on(ThingMade, Limited(note, 5))  # type: ignore[call-arg]
on(ThingMade, Otherwise(note, rename), Otherwise(in_a_thread, rename, within=DAY))
on(ThingMade, Limited(Later(Otherwise(note, rename, within=DAY), after=DAY), at_once=5))
on(ThingMade, Ordered(Otherwise(note, rename)), Otherwise(announce, in_a_thread))
on(ThingRenamed, Otherwise(note, rename))  # type: ignore[arg-type]
on(ThingMade, Otherwise(note, rename_again))  # type: ignore[arg-type]
on(ThingRenamed, Otherwise(write_down, rename_again))  # type: ignore[arg-type]
on(ThingMade, Otherwise(PUBLISH, rename))  # type: ignore[arg-type]
on(ThingMade, Otherwise(Later(note, after=DAY), rename))  # type: ignore[arg-type]
on(ThingMade, Otherwise(note, rename, within=7))  # type: ignore[arg-type]
on(ThingMade, Otherwise(note))  # type: ignore[call-arg]

Outbox("it", "sqlite:///it.db", [on(ThingMade, note), on(ThingRenamed, note)])
Outbox("it", "sqlite:///it.db", [on(ThingMade, in_a_thread)])
Outbox("it", "sqlite:///it.db", [on(ThingMade, Later(in_a_thread, after=DAY), note)])
Outbox("it", "sqlite:///it.db", [on(ThingMade, Ordered(in_a_thread))], session=Session)
Outbox("it", "sqlite:///it.db", [on(ThingMade, in_a_thread)], session=sessionmaker())
Outbox("it", "sqlite:///it.db", [on(ThingMade, Limited(in_a_thread, at_once=1))])
Outbox("it", "sqlite:///it.db", [on(ThingRenamed, in_a_thread)])  # type: ignore[arg-type]
Outbox("it", "sqlite:///it.db", [on(ThingRenamed, write_down)])  # type: ignore[arg-type]
Outbox("it", "sqlite:///it.db", [on(ThingMade, count)])  # type: ignore[arg-type]

Table = Handlers[Command, Event]
Table(commands=[on(MakeThing, make_thing)], events=[on(ThingMade, announce, note)])
Table(commands=[], events=[on(ThingMade, Otherwise(announce, rename), note)])
Table(commands=[], events=[on(ThingMade, Otherwise(note, count))])  # type: ignore[arg-type]
Table(commands=[], events=[on(ThingMade, Otherwise(note, echo))])  # type: ignore[arg-type]
Table(commands=[on(ThingMade, write_down)], events=[])  # type: ignore[list-item]
Table(commands=[on(RenameThing, make_thing)], events=[])  # type: ignore[arg-type]
Table(commands=[on(MakeThing, make_and_ask)], events=[])  # type: ignore[arg-type]
Table(commands=[], events=[on(MakeThing, make_thing)])  # type: ignore[list-item]
Table(commands=[], events=[on(ThingRenamed, write_down)])  # type: ignore[arg-type]
Table(commands=[], events=[on(ThingMade, count)])  # type: ignore[arg-type]
Table(commands=[], events=[on(ThingMade, echo)])  # type: ignore[arg-type]
Table(commands=[], events=[on(ThingMade, Later(count, after=DAY))])  # type: ignore[arg-type]
Table(commands=[], events=[on(ThingMade, Unsubscribed(count))])  # type: ignore[arg-type]
Table(commands=[], events=[on(ThingMade, Limited(count, at_once=1))])  # type: ignore[arg-type]
EXCHANGED: Handlers[Event, Command] = HANDLERS  # type: ignore[assignment]
OF_COMMANDS: Codec[Command] = CODEC  # type: ignore[assignment]
COMMANDS: Codec[Event] = Codec(source="/it", events=[MakeThing])  # type: ignore[list-item]
