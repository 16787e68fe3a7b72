"""The wiring: mistakes in it show when the program starts, not when a message arrives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from allocation.adapters import wire
from allocation.domain.commands import Command, RegisterUser
from allocation.domain.events import EmailChanged, Event, UserRegistered
from allocation.publishing import publishing_to
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.exceptions import WiringError
from allocation.service_layer.handlers import (
    COMMAND_HANDLERS,
    EVENT_HANDLERS,
    RENAMED_HANDLERS,
)
from allocation.service_layer.ports import Reading
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.wiring import (
    BoundHandler,
    Dependencies,
    EventHandlers,
    Handler,
    Registry,
    bind_all,
    check_complete,
    subscriptions,
)
from tests.builders import (
    HANDLERS,
    NOW,
    FakeApplication,
    a_batch,
    a_command_envelope,
    a_delivery,
    a_registration,
    an_envelope,
)
from tests.fakes import FakePublisher

pytestmark = pytest.mark.anyio

DEPENDENCIES = Dependencies(
    outside_ports={"notifications": object()},
    values={
        "reading": lambda: None,
        "marketing_email": "marketing@example.com",
        "new_token": lambda: "TOKEN",
        "now": lambda: NOW,
    },
)


async def greet(event: Event, notifications: object) -> None:
    """Ask for what there is."""


async def count(event: Event, uow: UnitOfWork) -> None:
    """Ask for what is made for every attempt."""


PUBLISHERS = {"rabbitmq": FakePublisher(), "kafka": FakePublisher()}


def another_count() -> Handler:
    async def count(event: Event) -> None:
        """Have the name of the other, by mistake."""

    return count


def bound(
    *,
    commands: Mapping[type[Command], Handler] = COMMAND_HANDLERS,
    events: EventHandlers = HANDLERS,
    renamed: Mapping[str, str] = {},
) -> Registry:
    return bind_all(commands, events, renamed, DEPENDENCIES)


def a_uow() -> UnitOfWork:
    return FakeApplication().new_uow(a_command_envelope())


async def test_a_handler_is_given_what_it_asks_for_by_name() -> None:
    """In any order, and nothing else: that keeps a handler easy to call and to test."""
    given: dict[str, Any] = {}

    async def handler(
        message: Command,
        idempotency_key: IdempotencyKey,
        new_token: Callable[[], str],
        uow: UnitOfWork,
    ) -> None:
        given.update(message=message, key=idempotency_key, token=new_token(), uow=uow)

    command, uow, delivery = a_registration(), a_uow(), a_delivery()
    await BoundHandler(handler, DEPENDENCIES).run(command, uow, delivery)

    key = delivery.idempotency_key
    assert given == {"message": command, "key": key, "token": "TOKEN", "uow": uow}


async def test_each_attempt_is_given_its_own_unit_of_work() -> None:
    """A handler that kept the first one would work in a transaction that has ended."""
    given: list[UnitOfWork] = []

    async def handler(message: Command, uow: UnitOfWork) -> None:
        given.append(uow)

    run, first, second = BoundHandler(handler, DEPENDENCIES).run, a_uow(), a_uow()
    await run(a_registration(), first, None)
    await run(a_registration(), second, None)

    assert given == [first, second]


async def test_a_handler_may_ask_for_nothing() -> None:
    """The message may be all it needs."""
    given: list[object] = []

    async def handler(message: Command) -> None:
        given.append(message)

    command = a_registration()
    await BoundHandler(handler, DEPENDENCIES).run(command, a_uow(), None)

    assert given == [command]


def test_a_handler_that_asks_for_something_unknown_is_a_mistake() -> None:
    """A misspelt parameter must not wait for its first message."""

    async def handler(event: Event, notification: object, tokens: object) -> None: ...

    with pytest.raises(
        WiringError,
        match="nobody provides in bootstrap.py: notification, tokens",
    ):
        BoundHandler(handler, DEPENDENCIES)


def test_an_event_handler_that_asks_for_something_unknown_is_a_mistake_at_start() -> None:
    """All handlers are bound at start."""

    async def handler(event: Event, printer: object) -> None: ...

    with pytest.raises(WiringError, match="nobody provides in bootstrap.py: printer"):
        bound(events={UserRegistered: [greet, handler]})


def test_a_command_handler_that_asks_for_something_unknown_is_a_mistake_at_start() -> None:
    """All handlers are bound at start."""

    async def handler(command: Command, uow: UnitOfWork, printer: object) -> None: ...

    with pytest.raises(WiringError, match="nobody provides in bootstrap.py: printer"):
        bound(commands={**COMMAND_HANDLERS, RegisterUser: handler})


def test_two_event_handlers_of_one_name_are_a_mistake() -> None:
    """Deliveries are stored under the name: one of the two would do the work of both."""
    handlers: EventHandlers = {UserRegistered: [count], EmailChanged: [another_count()]}

    with pytest.raises(WiringError, match="^two handlers with one name: count$"):
        bound(events=handlers)


def test_one_handler_twice_for_one_event_is_a_mistake() -> None:
    """A delivery is one event for one handler: the event could not be stored at all."""
    handlers: EventHandlers = {UserRegistered: [greet, count, greet]}

    with pytest.raises(WiringError, match="^twice a handler of UserRegistered: greet$"):
        bound(events=handlers)


def test_a_command_without_a_handler_is_a_mistake() -> None:
    """Nobody else would notice before the first user tries."""
    others = {c: handler for c, handler in COMMAND_HANDLERS.items() if c is not RegisterUser}

    with pytest.raises(WiringError, match="^commands without a handler: RegisterUser$"):
        bound(commands=others)


def test_a_renamed_handler_without_a_successor_is_a_mistake() -> None:
    """Its deliveries would be parked one by one, each as a surprise."""
    with pytest.raises(WiringError, match="^RENAMED_HANDLERS leads .* do not exist: welcome$"):
        bound(events={UserRegistered: [greet]}, renamed={"hello": "welcome", "hi": "greet"})


def test_a_renamed_handler_that_still_exists_is_a_mistake() -> None:
    """Another would do its work under its name, and nobody would miss the first one."""
    handlers: EventHandlers = {UserRegistered: [greet, count]}

    with pytest.raises(WiringError, match="^RENAMED_HANDLERS renames .* still exist: greet$"):
        bound(events=handlers, renamed={"greet": "count", "hi": "count"})


def test_a_renamed_handler_is_found_under_its_old_name() -> None:
    """Deliveries that were stored before the change still have to be made."""
    registry = bound(events={UserRegistered: [greet, count]}, renamed={"hello": "greet"})

    assert registry.events["hello"] is registry.events["greet"]
    assert registry.events["hello"] is not registry.events["count"]


def test_a_handler_of_a_port_that_is_not_configured_here_is_left_to_others() -> None:
    """A process must not take what it cannot do: each attempt would be one less for the others."""
    nothing = replace(DEPENDENCIES, outside_ports={"notifications": None})
    handlers: EventHandlers = {UserRegistered: [greet, count]}

    registry = bind_all(COMMAND_HANDLERS, handlers, {"hello": "greet"}, nothing)

    assert registry.events.keys() == {"count"}


def test_uow_and_an_effect_outside_do_not_go_together() -> None:
    """A failure between the two would lose the one or double the other."""

    async def handler(event: Event, uow: UnitOfWork, notifications: object) -> None: ...

    with pytest.raises(WiringError, match="split it in two.*without uow, have: notifications$"):
        bound(events={UserRegistered: [handler]})


def test_uow_and_reading_do_not_go_together() -> None:
    """Each such handler would hold one connection while it waits for another, for all of them."""

    async def handler(event: Event, uow: UnitOfWork, reading: Reading) -> None: ...

    with pytest.raises(WiringError, match="handler can look things up in uow.*: reading$"):
        bound(events={UserRegistered: [handler]})


def not_async(event: Event) -> None:
    """Have an effect, and then fail because nothing can be awaited: ten times."""


class NoFunction:
    """Has no name by which a delivery could be owed."""

    async def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize("handler", [not_async, NoFunction(), partial(greet)])
def test_what_is_no_async_function_is_no_handler(handler: Any) -> None:
    """At start and in words, not at the first event, after its effect."""
    handlers: EventHandlers = {UserRegistered: [handler]}

    with pytest.raises(WiringError, match="not made with `async def`: .*(not_async|object|greet)"):
        subscriptions(handlers)
    with pytest.raises(WiringError, match="not made with `async def`"):
        bound(events=handlers)


async def takes_no_message() -> None: ...


async def takes_it_by_position(event: Event, uow: UnitOfWork, /) -> None: ...


@pytest.mark.parametrize("handler", [takes_no_message, takes_it_by_position])
def test_a_handler_that_cannot_be_called_is_a_mistake(handler: Handler) -> None:
    """Each of its deliveries would be tried and parked."""
    with pytest.raises(WiringError, match=f"{handler.__name__} cannot be given a message"):
        bound(events={UserRegistered: [handler]})


def test_a_handler_with_an_effect_outside_may_look_things_up() -> None:
    """It needs an address, and has nothing to commit."""

    async def handler(event: Event, reading: Reading, notifications: object) -> None: ...

    assert not BoundHandler(handler, DEPENDENCIES).has_uow


def test_a_command_handler_without_uow_is_a_mistake() -> None:
    """Only its commit records that the command was accepted."""

    async def handler(command: Command, notifications: object) -> None: ...

    with pytest.raises(WiringError, match="do not ask for uow: handler"):
        bound(commands={**COMMAND_HANDLERS, RegisterUser: handler})


@pytest.mark.parametrize("port", [FakePublisher(), FakePublisher().publish, partial(greet)])
def test_a_port_among_the_values_is_a_mistake(port: object) -> None:
    """Somebody who adds one in the wrong place would get no promise for its effect."""
    with pytest.raises(WiringError, match="outside ports among the values: payments"):
        Dependencies(outside_ports={}, values={"payments": port})


def test_an_event_that_is_missing_in_the_table_is_a_mistake() -> None:
    """It could be recorded, and nobody would ever hear of it."""
    others = {e: handlers for e, handlers in EVENT_HANDLERS.items() if e is not EmailChanged}

    with pytest.raises(WiringError, match="^events missing in EVENT_HANDLERS: EmailChanged$"):
        check_complete(others)


class Money:
    """Nothing that msgspec could write down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded(Event):
    """An event with a field that cannot be stored."""

    amount: Money


class Forgotten(Event):
    """Somebody forgot to make it a dataclass."""

    amount: int


class ForgottenToo(UserRegistered):
    """Its parent was not forgotten."""

    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vague(Event):
    """What comes out of the database would be a dict, whatever went in."""

    amounts: list  # type: ignore[type-arg]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misspelt(Event):
    """Nobody has looked at its annotation yet."""

    amount: "Mony"  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinedElsewhere(Event):
    """An event that nobody would find by its stored name."""

    amount: int


@pytest.mark.parametrize(
    ("message_type", "reason"),
    [
        (Refunded, "Refunded cannot be stored: .*Money"),
        (Forgotten, "Forgotten cannot be stored: it is not decorated"),
        (ForgottenToo, "ForgottenToo cannot be stored: it is not decorated"),
        (Vague, "Vague cannot be stored: .* nobody can tell the type"),
        (Misspelt, "Misspelt cannot be stored: name 'Mony' is not defined"),
        (DefinedElsewhere, "not in domain/events.py or domain/commands.py: DefinedElsewhere"),
    ],
)
def test_a_message_that_cannot_be_stored_is_refused_at_start(
    message_type: type[Event], reason: str
) -> None:
    """Not at the first commit, when a user waits."""
    with pytest.raises(WiringError, match=reason):
        wire.check([message_type])


def test_an_event_that_nobody_could_read_is_not_stored() -> None:
    """It is in no table either, so at start nobody could see it."""
    with pytest.raises(WiringError, match="not in domain/events.py .*: DefinedElsewhere"):
        wire.to_row(an_envelope(DefinedElsewhere(amount=1)))


def test_the_messages_of_this_program_can_be_stored() -> None:
    """Every type that the tables name."""
    wire.check([*COMMAND_HANDLERS, *EVENT_HANDLERS])
    check_complete(EVENT_HANDLERS)


def test_one_function_for_several_events_is_one_handler() -> None:
    """It is no second handler of the same name, and each event is a delivery to it."""
    handlers: EventHandlers = {UserRegistered: [greet, count], EmailChanged: [count]}

    registry = bound(events=handlers)

    names: dict[type[Event], list[str]] = {
        UserRegistered: ["greet", "count"],
        EmailChanged: ["count"],
    }
    assert registry.events.keys() == {"greet", "count"}
    assert subscriptions(handlers) == names


def test_an_event_may_have_no_handler() -> None:
    """A fact is worth recording before anybody acts on it."""
    assert subscriptions({UserRegistered: []}) == {UserRegistered: []}
    assert bound(events={UserRegistered: []}).events == {}


def test_a_wiring_error_names_its_culprits_in_order() -> None:
    """They come from sets: without an order, one mistake would have many messages."""
    error = WiringError("commands without a handler", "RegisterUser", "AddCouponBatch")

    assert str(error) == "commands without a handler: AddCouponBatch, RegisterUser"


def test_the_handlers_of_this_program_can_be_bound() -> None:
    """The tables name every handler there is, and bootstrap has all they ask for."""
    handlers = publishing_to(EVENT_HANDLERS, PUBLISHERS)
    registry = bound(events=handlers, renamed=RENAMED_HANDLERS)

    names = {name for names in subscriptions(handlers).values() for name in names}
    assert registry.commands.keys() == COMMAND_HANDLERS.keys()
    assert registry.events.keys() == names | RENAMED_HANDLERS.keys()


async def test_each_broker_is_a_handler_of_its_own() -> None:
    """So that one that is away delays only its own deliveries."""
    rabbitmq, kafka = FakePublisher(), FakePublisher(failure=OSError("Kafka is down"))
    handlers = publishing_to(EVENT_HANDLERS, {"rabbitmq": rabbitmq, "kafka": kafka})
    application = FakeApplication(event_handlers=handlers)

    report = await application.bus.handle(a_registration())

    names = {failure.delivery.handler for failure in report.failures}
    assert names == {"publish_event_to_kafka"}
    assert set(rabbitmq.published) == set(report.events)


async def test_a_coupon_is_not_published() -> None:
    """Its code is money."""
    publisher = FakePublisher()
    handlers = publishing_to(EVENT_HANDLERS, {"rabbitmq": publisher})
    application = FakeApplication(event_handlers=handlers)

    await application.bus.handle(a_batch())
    report = await application.bus.handle(a_registration())

    names = [type(envelope.event).__name__ for envelope in report.events]
    assert names == ["UserRegistered", "CouponAllocated"]
    assert [type(envelope.event).__name__ for envelope in publisher.published] == names[:1]
