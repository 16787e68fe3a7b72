"""Builds test data, stating only what matters."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from aftercommit import Envelope, EnvelopeFactory, Handlers, MessageOrigin
from aftercommit.extensions.operations.decisions import Decision

from aftercommit_tests.inside.brokers import cloud_events
from aftercommit_tests.inside.claims import (
    INTERNAL,
    Claim,
    CommandWork,
    DeliveryPolicy,
    Entry,
    EventId,
    Failure,
    Handler,
    MessageContext,
    NewDelivery,
)
from aftercommit_tests.things.app import Settings
from aftercommit_tests.things.broker_messages import ACCEPTED_FROM_BROKERS
from aftercommit_tests.things.domain import (
    Club,
    Command,
    Event,
    MakeThing,
    Thing,
    ThingBroken,
    ThingId,
    ThingMade,
    ThingPolished,
    ThingRenamed,
)
from aftercommit_tests.things.handlers import CODEC, HANDLERS, announce, look_at, write_down

EventHandlers = Mapping[type[Event], Sequence[Any]]
CommandHandlers = Mapping[type[Command], Handler[Any, Any]]
Keys = Mapping[type[Event], Callable[[Any], object]]

PLAIN: EventHandlers = {
    ThingMade: [announce, look_at, write_down],
    ThingPolished: [],
    ThingRenamed: [],
    ThingBroken: [],
}
"""One handler with an effect outside, one without any, one with an effect in the database."""
NAMES = ["announce", "look_at", "write_down"]

POLICY = DeliveryPolicy(
    dispatch="inline",
    lease_seconds=30.0,
    handler_timeout_seconds=20.0,
    retry_initial_seconds=1.0,
    retry_factor=4.0,
    retry_max_seconds=3600.0,
    max_attempts=10,
)
MARIA = Decision(by="Maria")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

ACCEPTED = {CODEC.name_of(each): each for each in ACCEPTED_FROM_BROKERS}
from_cloud_event = partial(cloud_events.from_cloud_event, codec=CODEC, accepted=ACCEPTED)

_NUMBERS = count(1)  # ids in order: what a test draws at random must not depend on them


def table(
    events: EventHandlers = PLAIN,
    commands: CommandHandlers = MappingProxyType(HANDLERS.commands),
    renamed: Mapping[str, str] = MappingProxyType({}),
    keys: Keys = MappingProxyType({}),
) -> Handlers[Command, Event]:
    """Return the table that says the same as these."""
    rows: list[Entry[Event, Command]] = [
        Entry(e, (*its,), keys.get(e)) for e, its in events.items()
    ]
    of_commands: list[Entry[Command, None]] = [
        Entry(c, (handler,)) for c, handler in commands.items()
    ]
    return Handlers(commands=of_commands, events=rows, renamed=renamed)


def a_thing_id() -> ThingId:
    return ThingId(uuid4())


def a_thing(name: str = "lamp", *, thing_id: ThingId | None = None) -> Thing:
    return Thing.make(thing_id or a_thing_id(), name)


def a_club(*members: str, limit: int = 10) -> Club:
    club = Club(limit)
    for name in members:
        club.join(name)
    return club


def a_command(name: str | None = None, *, thing_id: ThingId | None = None) -> MakeThing:
    """Return a command to make a thing: without a name, one that no other thing has."""
    thing_id = thing_id or a_thing_id()
    return MakeThing(thing_id=thing_id, name=name or f"thing {thing_id}")


def an_event(name: str = "lamp") -> ThingMade:
    return ThingMade(thing_id=a_thing_id(), name=name)


def a_message(type_: str = "make_thing", *, message_id: str = "m1", **data: object) -> bytes:
    """Return a command as a message broker brings it."""
    attributes = {"specversion": "1.0", "id": message_id, "source": "/shop", "type": type_}
    fields = {"thing_id": str(a_thing_id()), "name": "lamp", **data}
    return json.dumps({**attributes, "data": fields}).encode()


def a_context() -> MessageContext:
    return MessageContext(correlation_id=uuid4(), causation_id=uuid4())


def a_command_work(
    received: MessageOrigin = INTERNAL, command: Command | None = None
) -> CommandWork:
    command = command or a_command()
    name = CODEC.name_of(type(command))
    return CommandWork(id=uuid4(), type=name, message=command, origin=received)


def an_envelope(event: Event | None = None) -> Envelope:
    event = event or an_event()
    name = CODEC.name_of(type(event))
    return Envelope(
        id=EventId(uuid4()),
        source=CODEC.source,
        type=name,
        schema_version=CODEC.version_of(name),
        event=event,
        subject="subject",
        time=NOW,
        context=a_context(),
    )


def some_deliveries(*handlers: str, of_events: int = 1) -> tuple[list[Envelope], list[NewDelivery]]:
    """Return new events, and a delivery of each to these handlers, as `store` takes them."""
    envelopes = [an_envelope() for _ in range(of_events)]
    return envelopes, [NewDelivery(e, name, 0.0, None) for e in envelopes for name in handlers]


def a_claim(*, handler: str = "announce", attempt: int = 1) -> Claim:
    return Claim(envelope=an_envelope(), handler=handler, attempt=attempt)


def a_failure(
    claim: Claim, error: Exception | None = None, *, retry_in: float | None = None
) -> Failure:
    return Failure(delivery=claim, error=error or OSError(), retry_in=retry_in)


def an_envelope_factory(
    event_handlers: EventHandlers = PLAIN, keys: Keys = MappingProxyType({})
) -> EnvelopeFactory:
    return EnvelopeFactory(
        codec=CODEC,
        subscriptions=table(event_handlers, keys=keys).subscriptions(Settings()),
        new_id=lambda: UUID(int=next(_NUMBERS)),
        now=lambda: NOW,
    )


def on(driver: str, url: str) -> str:
    """Name the driver in a URL, if there is one to name."""
    return url.replace("://", f"+{driver}://", 1) if driver else url
