"""Build test data, stating only what matters."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from aftercommit.bus import MessageBus
from aftercommit.claims import Claim, CommandWork, DeliveryPolicy, Failure
from aftercommit.codec import Codec
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import INTERNAL, Envelope, EventId, MessageContext, MessageOrigin
from aftercommit.extensions.brokers import cloud_events
from aftercommit.handler_binding import Dependencies, bind
from aftercommit.handler_table import Handler, Handlers, Row
from aftercommit.observers import CompositeObserver, ObservedPort, Observer
from aftercommit.sql import database
from aftercommit.unit_of_work import UnitOfWorkFactory
from anyio import Semaphore

from allocation import messages
from allocation.adapters.migrations import HISTORY
from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch, Command, RedeemCoupon, RegisterUser
from allocation.domain.events import Event, UserId, UserRegistered
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName
from allocation.extension_list import EXTENSIONS
from allocation.service_layer import handlers
from allocation.service_layer.user_mailer import UserMailer
from tests import things
from tests.fakes import (
    FakeDatabase,
    FakeEmailSender,
    FakeOutbox,
    fake_find_contact,
    fake_find_coupon_holder,
    fake_is_undeliverable,
    open_fake_unit_of_work,
)

EventHandlers = Mapping[type[Event], Sequence[Any]]
CommandHandlers = Mapping[type[Command], Handler[Any, Any]]


def table(
    events: EventHandlers,
    commands: CommandHandlers = MappingProxyType({}),
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Handlers[Command, Event]:
    """Return the table that says the same as these."""
    rows: list[Row[Event, Command]] = [Row(event, (*listed,)) for event, listed in events.items()]
    of_commands: list[Row[Command, None]] = [Row(c, (handler,)) for c, handler in commands.items()]
    return Handlers(commands=of_commands, events=rows, renamed=renamed)


CODEC = Codec(
    source=messages.CODEC.source,
    events=[*messages.CODEC.events.values(), *things.EVENTS],
    upcasters=messages.UPCASTERS,
    describe=messages.describe,
)
"""Of the application, and of things."""
open_database = partial(
    database.open_database,
    codec=CODEC,
    application=Settings.application,
    history=HISTORY,
    backends=EXTENSIONS.database_backends(),
)

ACCEPTED = {CODEC.name_of(each): each for each in messages.ACCEPTED_FROM_BROKERS}
from_cloud_event = partial(cloud_events.from_cloud_event, codec=CODEC, accepted=ACCEPTED)

COMMANDS = {**handlers.HANDLERS.commands, **things.HANDLERS.commands}
HANDLERS: EventHandlers = {  # without a broker
    **handlers.HANDLERS.publishing_to({}).events,
    **things.HANDLERS.events,
}
SUBSCRIPTIONS = table(HANDLERS).subscriptions(Settings())
HANDLER_NAMES = sorted(set().union(*SUBSCRIPTIONS.values()))
HANDLERS_OF_REGISTRATION = sorted(SUBSCRIPTIONS[UserRegistered])

POLICY = DeliveryPolicy(
    dispatch="inline",
    lease_seconds=30.0,
    handler_timeout_seconds=20.0,
    retry_initial_seconds=1.0,
    retry_factor=4.0,
    retry_max_seconds=3600.0,
    max_attempts=10,
)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
TODAY = NOW.date()

_NUMBERS = count(1)  # ids in order: what a test draws at random must not depend on them


def a_user_id() -> UserId:
    return UserId(uuid4())


def a_user(*, email: str = "ivan@example.com", name: str = "Иван") -> User:
    return User.register(a_user_id(), PersonName(name), EmailAddress(email))


def a_registration(
    *, email: str = "ivan@example.com", name: str = "Иван", user_id: UserId | None = None
) -> RegisterUser:
    return RegisterUser(user_id=user_id or a_user_id(), name=name, email=email)


def a_batch(*, quantity: int = 10, reference: str = "WELCOME") -> AddCouponBatch:
    return AddCouponBatch(reference=reference, quantity=quantity)


def a_redemption(code: str, redemption_id: UUID | None = None) -> RedeemCoupon:
    return RedeemCoupon(redemption_id=redemption_id or uuid4(), code=code)


def a_user_registered() -> UserRegistered:
    return UserRegistered(user_id=a_user_id(), name="Иван", email="ivan@example.com")


def a_user_message(
    type_: str = "register_user", *, message_id: str = "m1", **data: object
) -> bytes:
    defaults = {"user_id": str(a_user_id()), "name": "Иван", "email": "ivan@example.com"}
    attributes = {"specversion": "1.0", "id": message_id, "source": "/shop", "type": type_}
    return json.dumps({**attributes, "data": {**defaults, **data}}).encode()


def a_context() -> MessageContext:
    return MessageContext(correlation_id=uuid4(), causation_id=uuid4())


def a_command_envelope(
    received: MessageOrigin = INTERNAL, command: Command | None = None
) -> CommandWork:
    command = command or things.a_command()
    name = CODEC.name_of(type(command))
    return CommandWork(id=uuid4(), type=name, message=command, origin=received)


def an_envelope(event: Event | None = None) -> Envelope:
    event = event or things.an_event()
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


def a_delivery(*, handler: str = "announce", attempt: int = 1) -> Claim:
    return Claim(envelope=an_envelope(), handler=handler, attempt=attempt)


def a_failure(
    delivery: Claim, error: Exception | None = None, *, retry_in: float | None = None
) -> Failure:
    return Failure(delivery=delivery, error=error or OSError(), retry_in=retry_in)


def an_envelope_factory(event_handlers: EventHandlers = HANDLERS) -> EnvelopeFactory:
    return EnvelopeFactory(
        codec=CODEC,
        subscriptions=table(event_handlers).subscriptions(Settings()),
        new_id=lambda: UUID(int=next(_NUMBERS)),
        now=lambda: NOW,
    )


@dataclass
class FakeApplication:
    """The whole application on fakes: handlers, bus, and everything a test may look at."""

    event_handlers: EventHandlers = field(default_factory=lambda: HANDLERS)
    command_handlers: Mapping[type[Command], Handler[Any, Any]] = field(
        default_factory=lambda: COMMANDS
    )
    policy: DeliveryPolicy = POLICY
    observers: Sequence[Observer] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    database: FakeDatabase = field(default_factory=FakeDatabase)
    notifications: FakeEmailSender = field(default_factory=FakeEmailSender)
    new_token: Callable[[], str] = lambda: uuid4().hex
    now: datetime = NOW
    slots: int = 50

    def __post_init__(self) -> None:
        self.outbox = FakeOutbox(self.database, self.policy)
        self.wire()

    def wire(self) -> None:
        """Make the bus; again, after a test has exchanged something."""
        envelopes = an_envelope_factory(self.event_handlers)
        self.new_uow: UnitOfWorkFactory = partial(
            open_fake_unit_of_work, self.database, self.policy
        )
        instrumentation = CompositeObserver(self.observers)
        port = partial(ObservedPort, instrumentation, "notifications")
        is_undeliverable = partial(fake_is_undeliverable, self.database)
        dependencies = Dependencies(
            effect_ports={
                "notifications": port(self.notifications),
                "user_mail": port(UserMailer(self.notifications, is_undeliverable)),
            },
            queries={
                "find_contact": partial(fake_find_contact, self.database),
                "find_coupon_holder": partial(fake_find_coupon_holder, self.database),
            },
            constants={
                "marketing_email": "marketing@example.com",
                "new_token": self.new_token,
                "now": lambda: self.now,
            },
        )
        self.bus = MessageBus(
            registry=bind(
                table(self.event_handlers, self.command_handlers, self.renamed), dependencies
            ),
            envelopes=envelopes,
            new_uow=self.new_uow,
            outbox=self.outbox,
            policy=self.policy,
            random=lambda: 1.0,
            slots=Semaphore(self.slots, fast_acquire=True),
            instrumentation=instrumentation,
        )
