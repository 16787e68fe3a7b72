"""The wiring: mistakes in it show when the program starts, not when a message arrives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec
import pytest
from aftercommit.claims import IdempotencyKey
from aftercommit.errors import WiringError
from aftercommit.handler_binding import BoundHandler, BoundHandlers, Dependencies, bind
from aftercommit.handler_table import Handler, Handlers, Later, Row, Unsubscribed, on

from allocation.config import Settings
from allocation.domain.commands import Command, RecordBounce
from allocation.domain.events import Event
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import (
    CODEC,
    COMMANDS,
    HANDLERS,
    NOW,
    POLICY,
    EventHandlers,
    FakeApplication,
    a_batch,
    a_command_envelope,
    a_delivery,
    a_redemption,
    a_registration,
    an_envelope,
    table,
)
from tests.fakes import FakeDatabase, FakePublisher, FakeUnitOfWorkScope
from tests.things import MakeThing, RenameThing, ThingMade, ThingRenamed, make_thing

pytestmark = pytest.mark.anyio

DEPENDENCIES = Dependencies(
    effect_ports={"notifications": object(), "user_mail": object()},
    queries=dict.fromkeys(["find_thing", "find_contact", "find_coupon_holder"], lambda key: None),
    constants={
        "marketing_email": "marketing@example.com",
        "new_token": lambda: "TOKEN",
        "now": lambda: NOW,
    },
)


async def greet(event: Event, notifications: object) -> None:
    """Ask for what there is."""


async def count(event: Event, uow: UnitOfWork) -> None:
    """Ask for what is made for every attempt."""


LEASE: Callable[[Settings], float] = attrgetter("lease_seconds")
PUBLISHERS = {"rabbitmq": FakePublisher(), "kafka": FakePublisher()}


def another_count() -> Handler[Any, Any]:
    async def count(event: Event) -> None:
        """Have the name of the other, by mistake."""

    return count


def bound(
    *,
    commands: Mapping[type[Command], Handler[Any, Any]] = COMMANDS,
    events: EventHandlers = HANDLERS,
    renamed: Mapping[str, str] = {},
) -> BoundHandlers:
    return bind(table(events, commands, renamed), DEPENDENCIES)


def a_uow() -> UnitOfWork:
    return FakeUnitOfWorkScope(FakeDatabase(), POLICY, a_command_envelope()).uow


async def test_a_handler_is_given_what_it_asks_for_by_name() -> None:
    """In any order, and nothing else: that keeps a handler easy to call and to test."""
    given: dict[str, Any] = {}

    async def handler(
        message: Event,
        idempotency_key: IdempotencyKey,
        new_token: Callable[[], str],
        uow: UnitOfWork,
    ) -> None:
        given.update(message=message, key=idempotency_key, token=new_token(), uow=uow)

    delivery, bound_handler = a_delivery(), BoundHandler(handler, DEPENDENCIES)
    for uow in (a_uow(), a_uow()):  # each attempt has its own
        await bound_handler.run(delivery, uow)

        key = delivery.idempotency_key
        assert given == {"message": delivery.message, "key": key, "token": "TOKEN", "uow": uow}


async def test_a_handler_may_ask_for_nothing() -> None:
    """The message may be all it needs."""
    given: list[object] = []

    async def handler(message: Command) -> None:
        given.append(message)

    envelope = a_command_envelope()
    await BoundHandler(handler, DEPENDENCIES).run(envelope, a_uow())

    assert given == [envelope.message]


async def asks_for_what_is_unknown(event: Event, notification: object, tokens: object) -> None: ...


async def asks_for_uow_and_an_effect(
    event: Event, uow: UnitOfWork, notifications: object
) -> None: ...


async def asks_for_uow_and_a_query(event: Event, uow: UnitOfWork, find_thing: object) -> None: ...


async def looks_up_for_an_effect(
    event: Event, find_thing: object, notifications: object
) -> None: ...


async def returns_a_number(event: Event) -> int: ...  # type: ignore[empty-body]


async def returns_any_command(event: Event) -> Command | None: ...


async def returns_what_it_could_do(event: Event, uow: UnitOfWork) -> RenameThing | None: ...


async def is_annotated_wrongly(event: Event) -> "Nonsense": ...  # type: ignore[name-defined] # noqa: F821


async def takes_what_only_a_checker_imports(event: "Nonsense") -> None: ...  # type: ignore[name-defined] # noqa: F821


async def is_without_uow(command: Command, notifications: object) -> None: ...


async def asks_for_what_only_events_have(
    command: Command, uow: UnitOfWork, idempotency_key: IdempotencyKey
) -> None: ...


NO_COMMAND = "return what is no command with a handler: <class"


@pytest.mark.parametrize(
    ("handlers", "complaint"),
    [
        ([greet, asks_for_what_is_unknown], "provides in bootstrap.py: notification, tokens"),
        # a delivery is one event for one handler: the event could not be stored at all
        ([greet, count, greet], "^for ThingMade, .* or one twice: greet$"),
        (
            [
                Later(count, after=LEASE),
                Later(count, after=lambda settings: settings.retry_max_seconds),
            ],
            "or one twice: count$",
        ),
        # each such handler would hold one connection while it waits for another
        ([asks_for_uow_and_a_query], "can look things up in uow.*: find_thing$"),
        # what is returned would be lost, after the effect
        ([returns_a_number], NO_COMMAND),
        ([returns_any_command], NO_COMMAND),
        # it can do the work itself, in the transaction that it has
        ([returns_what_it_could_do], "has uow, and may do itself what it returns: .*Rename"),
        ([is_annotated_wrongly], "wrong annotations .*Nonsense.*: is_annotated_wrongly"),
    ],
)
def test_an_event_handler_that_cannot_work_is_a_mistake_at_start(
    handlers: list[Any], complaint: str
) -> None:
    """A misspelt parameter must not wait for its first message."""
    with pytest.raises(WiringError, match=complaint):
        bound(events={ThingMade: handlers})


def test_whoever_writes_to_users_may_return_that_the_address_does_not_exist() -> None:
    """Then mypy finds the `return` that is missing, without which the answer would be lost."""
    handlers = TABLE.by_name().values()
    hints = {each.__name__: get_type_hints(each) for each in handlers}
    returned = {name: each["return"] for name, each in hints.items() if "user_mail" in each}

    assert len(returned) > 1
    assert returned == dict.fromkeys(returned, RecordBounce | None)


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        # only the commit of a command records that it was accepted
        (is_without_uow, "do not ask for uow: is_without_uow"),
        (asks_for_what_only_events_have, "in bootstrap.py: idempotency_key"),
    ],
)
def test_a_command_handler_that_cannot_work_is_a_mistake_at_start(
    handler: Handler[Any, Any], complaint: str
) -> None:
    """As above."""
    with pytest.raises(WiringError, match=complaint):
        bound(commands={**COMMANDS, MakeThing: handler})


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([on(MakeThing)], "commands that have not one handler: MakeThing"),
        ([on(MakeThing, make_thing, make_thing)], "commands that have not one handler: MakeThing"),
        ([on(MakeThing, make_thing)] * 2, "messages with two rows: MakeThing"),
    ],
)
def test_a_command_has_one_row_and_one_handler(
    rows: list[Row[MakeThing, None]], complaint: str
) -> None:
    """Nobody else would notice before the first user tries."""
    with pytest.raises(WiringError, match=f"^{complaint}$"):
        Handlers(commands=rows, events=[])


def test_the_type_of_a_message_may_be_imported_for_type_checkers_only() -> None:
    """Linters move such imports there; only what a handler returns is looked at."""
    FakeApplication(event_handlers={ThingMade: [takes_what_only_a_checker_imports]})


def test_two_event_handlers_of_one_name_are_a_mistake() -> None:
    """Deliveries are stored under the name: one of the two would do the work of both."""
    handlers: EventHandlers = {ThingMade: [count], ThingRenamed: [another_count()]}

    with pytest.raises(WiringError, match="^for ThingRenamed, two handlers with .*: count$"):
        bound(events=handlers)


@pytest.mark.parametrize(
    ("renamed", "complaint"),
    [
        ({"hello": "welcome", "hi": "greet"}, "and a new one: welcome$"),
        ({"greet": "count", "hi": "count"}, "that is gone.*: greet$"),
    ],
)
def test_a_handler_is_renamed_from_one_that_is_gone_to_one_that_is_there(
    renamed: dict[str, str], complaint: str
) -> None:
    """Its deliveries would be parked one by one, or done by another, and nobody would notice."""
    with pytest.raises(WiringError, match=f"^`renamed` needs .* {complaint}"):
        bound(events={ThingMade: [greet, count]}, renamed=renamed)


def test_a_renamed_handler_is_found_under_its_old_name() -> None:
    """Deliveries that were stored before the change still have to be made."""
    registry = bound(events={ThingMade: [greet, count]}, renamed={"hello": "greet"})

    assert registry.events["hello"] is registry.events["greet"]
    assert registry.events["hello"] is not registry.events["count"]


def test_a_handler_of_a_port_that_is_not_configured_here_is_left_to_others() -> None:
    """A process must not take what it cannot do: each attempt would be one less for the others."""
    nothing = replace(DEPENDENCIES, effect_ports={"notifications": None})
    handlers: EventHandlers = {ThingMade: [greet, count]}

    registry = bind(table(handlers, COMMANDS, {"hello": "greet"}), nothing)

    assert registry.events.keys() == {"count"}


def test_uow_and_an_effect_outside_do_not_go_together() -> None:
    """A failure between the two would lose the one or double the other."""
    handlers: EventHandlers = {ThingMade: [asks_for_uow_and_an_effect]}

    with pytest.raises(WiringError, match="(?s)split it in two.*: notifications$"):
        bound(events=handlers)


def not_async(event: Event) -> None:
    """Have an effect, and then fail because nothing can be awaited: ten times."""


class NoFunction:
    """Has no name by which a delivery could be owed."""

    async def __call__(self, event: Event) -> None: ...


@pytest.mark.parametrize("handler", [not_async, NoFunction(), partial(greet)])
def test_what_is_no_async_function_is_no_handler(handler: Any) -> None:
    """At start and in words, not at the first event, after its effect."""
    handlers: EventHandlers = {ThingMade: [handler]}

    with pytest.raises(WiringError, match="not made with `async def`: .*(not_async|object|greet)"):
        table(handlers).subscriptions(Settings())
    with pytest.raises(WiringError, match="not made with `async def`"):
        bound(events=handlers)


def test_a_handler_with_an_effect_outside_may_look_things_up() -> None:
    """It needs an address, and has nothing to commit."""
    assert not BoundHandler(looks_up_for_an_effect, DEPENDENCIES).is_transactional


@pytest.mark.parametrize("port", [FakePublisher(), FakePublisher().publish, partial(greet)])
def test_a_port_among_the_values_is_a_mistake(port: object) -> None:
    """Somebody who adds one in the wrong place would get no promise for its effect."""
    with pytest.raises(
        WiringError, match="ports with an external effect among the constants: payments"
    ):
        Dependencies(effect_ports={}, queries={}, constants={"payments": port})


def check_storable(message_type: type) -> None:
    if "__dataclass_fields__" not in vars(message_type):  # its parent's do not count
        raise TypeError("it is not decorated with @dataclass")
    msgspec.json.schema(message_type)
    msgspec.json.Decoder(message_type)
    if "AnyType()" in repr(msgspec.inspect.type_info(message_type)):
        raise TypeError("of a field, or of what is in it, nobody can tell the type")


class Money:
    """Nothing that msgspec could write down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded(Event):
    """An event with a field that cannot be stored."""

    amount: Money


class Forgotten(Event):
    """Somebody forgot to make it a dataclass."""

    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vague(Event):
    """What comes out of the database would be a dict, whatever went in."""

    amounts: list  # type: ignore[type-arg]


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinedElsewhere(Event):
    """An event that nobody would find by its stored name."""

    amount: int


@pytest.mark.parametrize(
    ("message_type", "reason"),
    [
        (Refunded, "Money"),
        (Forgotten, "it is not decorated"),
        (Vague, "nobody can tell the type"),
    ],
)
def test_a_message_that_cannot_be_stored_is_found(message_type: type[Event], reason: str) -> None:
    """Here, and not at the first commit, when a user waits."""
    with pytest.raises(TypeError, match=reason):
        check_storable(message_type)


def test_an_event_that_nobody_could_read_is_not_stored() -> None:
    """It is in no table either, so at start nobody could see it."""
    with pytest.raises(WiringError, match="that the codec does not know: DefinedElsewhere"):
        CODEC.to_row(an_envelope(DefinedElsewhere(amount=1)))


def test_the_messages_of_this_program_can_be_stored() -> None:
    """Every type that the tables name."""
    for message_type in (*TABLE.commands, *TABLE.events):
        check_storable(message_type)


def test_one_function_for_several_events_is_one_handler() -> None:
    """It is no second handler of the same name, and each event is a delivery to it."""
    handlers: EventHandlers = {ThingMade: [greet, count], ThingRenamed: [count]}

    registry = bound(events=handlers)

    names: dict[type[Event], dict[str, float]] = {
        ThingMade: {"greet": 0, "count": 0},
        ThingRenamed: {"count": 0},
    }
    assert registry.events.keys() == {"greet", "count"}
    assert table(handlers).subscriptions(Settings()) == names


def test_an_event_may_have_no_handler() -> None:
    """A fact is worth recording before anybody acts on it."""
    assert table({ThingMade: []}).subscriptions(Settings()) == {ThingMade: {}}
    assert bound(events={ThingMade: []}).events == {}


def test_a_wiring_error_names_its_culprits_in_order() -> None:
    """They come from sets: without an order, one mistake would have many messages."""
    error = WiringError("commands without a handler", "Second", "First")

    assert str(error) == "commands without a handler: First, Second"


def test_the_handlers_of_this_program_can_be_bound() -> None:
    """The tables name every handler there is, and bootstrap has all they ask for."""
    handlers = TABLE.publishing_to(PUBLISHERS).events
    registry = bound(commands=TABLE.commands, events=handlers, renamed=TABLE.renamed)

    names = {name for names in table(handlers).subscriptions(Settings()).values() for name in names}
    assert registry.commands.keys() == TABLE.commands.keys()
    assert registry.events.keys() == names | TABLE.renamed.keys()


async def test_each_broker_is_a_handler_of_its_own() -> None:
    """So that one that is away delays only its own deliveries."""
    rabbitmq, kafka = FakePublisher(), FakePublisher(failure=OSError("Kafka is down"))
    handlers = TABLE.publishing_to({"rabbitmq": rabbitmq, "kafka": kafka}).events
    application = FakeApplication(event_handlers=handlers)

    report = await application.bus.handle(a_registration())

    names = {failure.delivery.handler for failure in report.failures}
    assert names == {"publish_event_to_kafka"}
    assert set(rabbitmq.published) == set(report.events)


async def test_a_coupon_is_not_published() -> None:
    """Its code is money. That it was redeemed is, without the code."""
    publisher = FakePublisher()
    handlers = TABLE.publishing_to({"rabbitmq": publisher}).events
    application = FakeApplication(event_handlers=handlers)

    await application.bus.handle(a_batch())
    report = await application.bus.handle(a_registration())
    [coupon] = application.database.coupons.values()
    await application.bus.handle(a_redemption(coupon.code.value))

    names = [type(envelope.event).__name__ for envelope in report.events]
    assert names == ["UserRegistered", "CouponAllocated"]
    published = [type(envelope.event).__name__ for envelope in publisher.published]
    assert published == ["UserRegistered", "CouponRedeemed"]
    assert coupon.code.value not in str([CODEC.to_row(each) for each in publisher.published])


async def charge(event: ThingMade, notifications: object) -> RenameThing | None:
    return None


def test_a_handler_may_return_a_command_that_has_a_handler() -> None:
    """That is how what the outside answers is stored."""
    registry = bound(events={ThingMade: [charge]})

    assert registry.events["charge"].answers == {RenameThing}


def test_a_delay_is_the_value_of_a_setting() -> None:
    """The table names it, so that whoever reads the table finds it in the environment, too."""
    handlers: EventHandlers = {ThingMade: [greet, Later(count, after=LEASE)]}

    assert table(handlers).subscriptions(Settings()) == {ThingMade: {"greet": 0, "count": 30}}
    assert bound(events=handlers).events.keys() == {"greet", "count"}
    misspelt = table({ThingMade: [Later(count, after=lambda settings: settings.patience)]})
    with pytest.raises(WiringError, match="a setting that there is not: .*patience"):
        misspelt.subscriptions(Settings())


def test_an_unsubscribed_handler_is_bound_and_subscribes_to_nothing() -> None:
    """Its deliveries are stored, perhaps for weeks, and another release removes it."""
    handlers: EventHandlers = {ThingMade: [greet, Unsubscribed(count)]}

    assert table(handlers).subscriptions(Settings()) == {ThingMade: {"greet": 0}}
    assert bound(events=handlers).events.keys() == {"greet", "count"}
