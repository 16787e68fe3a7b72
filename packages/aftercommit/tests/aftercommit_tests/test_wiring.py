"""The wiring: mistakes in it show when the program starts, not when a message arrives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

import pytest
from aftercommit import (
    PUBLISH,
    Database,
    Dependencies,
    EngineSettings,
    Envelope,
    Extension,
    GivenUp,
    Handlers,
    IdempotencyKey,
    Later,
    Limited,
    Ordered,
    Otherwise,
    Parts,
    Repository,
    Transaction,
    Unsubscribed,
    bind,
    new_delivery_store,
    on,
    open_application,
)
from aftercommit.errors import WiringError

from aftercommit_tests.builders import PLAIN, a_claim, a_command, an_envelope, table
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import (
    PER_ATTEMPT,
    BoundHandler,
    Entry,
    Handler,
    HandlerSubscription,
    limits,
)
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.things.bell import RecordingBell
from aftercommit_tests.things.domain import (
    Aggregate,
    Club,
    Command,
    Event,
    MakeThing,
    RenameThing,
    ThingMade,
    ThingNotFound,
    ThingRenamed,
)
from aftercommit_tests.things.handlers import CODEC, HANDLERS, make_thing
from aftercommit_tests.things.storage import UnitOfWork, start_mappers

pytestmark = pytest.mark.anyio

DEPENDENCIES = Dependencies(
    effect_ports={"bell": object()},
    queries={"find_thing": lambda key: None},
    constants={"new_token": lambda: "TOKEN"},
)
LEASE: Callable[[Settings], float] = attrgetter("lease_seconds")


@dataclass
class RecordingPublisher:
    """A broker that takes everything, or fails."""

    failure: Exception | None = None
    published: list[Envelope] = field(default_factory=list)

    async def publish(self, envelope: Envelope) -> None:
        if self.failure:
            raise self.failure
        self.published.append(envelope)


async def greet(event: Event, bell: object) -> None:
    """Ask for what there is."""


async def count(event: Event, uow: UnitOfWork) -> None:
    """Ask for what is made for every attempt."""


def another_count() -> Any:
    async def count(event: Event) -> None:
        """Have the name of the other, by mistake."""

    return count


async def asks_for_what_is_unknown(event: Event, notification: object, tokens: object) -> None: ...


async def asks_for_uow_and_an_effect(event: Event, uow: UnitOfWork, bell: object) -> None: ...


async def asks_for_both_and_returns_one(
    event: Event, uow: UnitOfWork, bell: object
) -> RenameThing | None: ...


async def asks_for_uow_and_a_query(event: Event, uow: UnitOfWork, find_thing: object) -> None: ...


async def looks_up_for_an_effect(event: Event, find_thing: object, bell: object) -> None: ...


async def returns_any_command(event: Event) -> Command | None: ...


async def returns_what_it_could_do(event: Event, uow: UnitOfWork) -> RenameThing | None: ...


async def charges(event: ThingMade, bell: object) -> RenameThing | None: ...


async def is_annotated_wrongly(event: Event) -> "Nonsense": ...  # type: ignore[name-defined] # noqa: F821


async def takes_what_only_a_checker_imports(event: "Nonsense") -> None: ...  # type: ignore[name-defined] # noqa: F821


async def is_without_uow(command: Command, bell: object) -> None: ...


async def asks_for_a_key(command: Command, uow: UnitOfWork, idempotency_key: object) -> None: ...


def not_async(event: Event) -> None:
    """Have an effect, and then fail because nothing can be awaited: ten times."""


class NoFunction:
    """Has no name by which a delivery could be owed."""

    async def __call__(self, event: Event) -> None: ...


def of_event(*handlers: Any, **others: Any) -> dict[str, Any]:
    """Return what makes a table in which an event has these handlers."""
    return {"events": on_made(*handlers), **others}


async def rename(event: ThingMade, failure: GivenUp) -> RenameThing:
    return RenameThing(thing_id=event.thing_id, name=failure.reason)


async def rename_differently(event: ThingMade) -> RenameThing:
    return RenameThing(thing_id=event.thing_id, name="another name")


async def does_nothing(event: ThingMade, failure: GivenUp) -> None:
    assert failure


async def rings_instead(event: ThingMade, bell: object) -> RenameThing:
    return RenameThing(thing_id=event.thing_id, name=str(bell))


async def asks_why(event: ThingMade, failure: GivenUp) -> None:
    assert failure


def of_command(handler: Any) -> dict[str, Any]:
    """Return what makes one in which a command has this handler."""
    return {"commands": {**HANDLERS.commands, MakeThing: handler}}


NO_FUNCTION = "have to be made with `async def`.*: .*(not_async|object|greet)"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (of_event(greet, asks_for_what_is_unknown), "It is: notification, tokens"),
        # a delivery is one event for one handler: the event could not be stored at all
        (of_event(greet, count, greet), "^ThingMade has two .* or one twice: greet$"),
        (of_event(Later(count, after=LEASE), count), "or one twice: count$"),
        # each such handler would hold one connection while it waits for another
        (of_event(asks_for_uow_and_a_query), "can read from uow.*: find_thing$"),
        # what is returned would be lost, after the effect
        (of_event(returns_any_command), "return only commands that have a handler: <class"),
        # it can do the work itself, in the transaction that it has
        (of_event(returns_what_it_could_do), "has uow, so it need not return a command: .*Rename"),
        (
            of_event(is_annotated_wrongly),
            "return type cannot be read .*Nonsense.*: is_annotated_wrongly",
        ),
        # only the commit of a command records that it was accepted
        (of_command(is_without_uow), "have to ask for uow; these do not: is_without_uow"),
        (of_command(asks_for_a_key), "It is: idempotency_key"),
        # not at the first event, after its effect
        (of_event(not_async), NO_FUNCTION),
        (of_event(NoFunction()), NO_FUNCTION),
        (of_event(partial(greet)), NO_FUNCTION),
        # deliveries are stored under the name: one of the two would do the work of both
        (
            {"events": {ThingMade: [count], ThingRenamed: [another_count()]}},
            "^ThingRenamed has two handlers of .*: count$",
        ),
        # deliveries would be parked one by one, or done by another, and nobody would notice
        (of_event(greet, renamed={"hello": "welcome", "hi": "greet"}), "Not so: welcome$"),
        (of_event(greet, count, renamed={"greet": "count"}), "Not so: greet$"),
        # the first, which is for later, would hold up all the others
        (of_event(Ordered(Later(count, after=LEASE))), "use one of Later, Ordered and .*count"),  # type: ignore[arg-type]
        (of_event(Later(Ordered(count), after=LEASE)), "use one of Later, Ordered and .*count"),  # type: ignore[arg-type]
        # the next of its lane would wait for others, and a limit within one is read by nobody
        (of_event(Limited(Ordered(count), at_once=1)), "Ordered and Limited exclude .*count"),  # type: ignore[arg-type]
        (of_event(Ordered(Limited(count, at_once=1))), "and put Limited around it.*: .*count"),  # type: ignore[arg-type]
        (
            of_event(Later(Limited(count, at_once=1), after=LEASE)),  # type: ignore[arg-type]
            "and put Limited around it.*: .*count",
        ),
        (
            of_event(Limited(Limited(count, at_once=1), at_once=1)),  # type: ignore[arg-type]
            "and put Limited around it.*: .*count",
        ),
        # what happens instead has to be certain: it is no handler of its own that could fail to act
        (of_event(Otherwise(count, does_nothing)), "of count returns a command.*: does_nothing$"),
        (of_event(Otherwise(count, rings_instead)), "instead of count, so it may not .*: bell$"),
        (
            of_event(Otherwise(Later(count, after=LEASE), rename)),  # type: ignore[arg-type]
            "Otherwise stands inside.*: .*count",
        ),
        (of_event(Otherwise(count, not_async)), NO_FUNCTION),
        # of a broker that is down, publishing is tried again
        (of_event(Otherwise(PUBLISH, rename)), "PUBLISH .* can only be Ordered"),  # type: ignore[arg-type]
        (of_command(Otherwise(make_thing, rename)), "give it an Otherwise.*: MakeThing$"),
        (
            {"events": {ThingMade: [Otherwise(greet, rename)], ThingRenamed: [greet]}},
            "the same happens instead of a handler in all its entries.*: greet$",
        ),
        # only what happens instead of a handler knows of a failure
        (of_event(asks_why), "It is: failure$"),
        (
            of_event(Ordered(count, lane="a name:")),
            "has the current or an old name of its handler.*: a name:$",
        ),
        # the order would be lost, and nobody would notice either
        (
            of_event(Ordered(greet), renamed={"hi": "greet"}),
            "keep its lane, give lane='hi', or .* to: greet$",
        ),
        (
            of_event(Ordered(count), Ordered(greet, lane="count")),
            "two handlers cannot have the same lane: count$",
        ),
        (
            {"events": {ThingMade: [Ordered(count)], ThingRenamed: [count]}},
            "Ordered, with the same lane, for all of its events.*: count$",
        ),
    ],
)
def test_a_handler_that_cannot_work_is_a_mistake_at_start(
    wrong: dict[str, Any], complaint: str
) -> None:
    """A misspelt parameter must not wait for its first message."""
    with pytest.raises(WiringError, match=complaint):
        bind(table(**wrong), DEPENDENCIES)


@pytest.mark.parametrize("handler", [asks_for_uow_and_an_effect, asks_for_both_and_returns_one])
def test_uow_and_an_effect_outside_do_not_go_together(handler: Handler[Event, Command]) -> None:
    """A failure between the two would lose the one or double the other.

    To return a command is right, so nobody is told first that this is the mistake.
    """
    with pytest.raises(WiringError, match="(?s)split it in two.*: bell$"):
        bind(table(on_made(handler)), DEPENDENCIES)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([on(MakeThing, make_thing, make_thing)], "a command has exactly one handler.*: MakeThing"),
        ([on(MakeThing, make_thing)] * 2, "a message has one entry.*: MakeThing"),
        # who is to blame comes from sets: in order, one mistake has one message
        ([on(RenameThing), on(MakeThing)], "a command .*: MakeThing, RenameThing"),
    ],
)
def test_a_command_has_one_entry_and_one_handler(
    entries: list[Entry[Command, None]], complaint: str
) -> None:
    """Nobody else would notice before the first user tries."""
    with pytest.raises(WiringError, match=f"^{complaint}$"):
        Handlers(commands=entries, events=[])


@pytest.mark.parametrize(
    "port", [RecordingPublisher(), RecordingPublisher().publish, partial(greet)]
)
def test_a_port_among_the_values_is_a_mistake(port: object) -> None:
    """Somebody who adds one in the wrong place would get no promise for its effect."""
    with pytest.raises(WiringError, match="effect ports among the constants.*: payments"):
        Dependencies(effect_ports={}, queries={}, constants={"payments": port})


@pytest.mark.parametrize("name", ["bell", "find_thing", *PER_ATTEMPT])
def test_a_name_given_twice_is_a_mistake(name: str) -> None:
    """A handler is given one value by each name: it would be the wrong one, or each call fails."""
    with pytest.raises(
        WiringError, match=f"two things that handlers may ask for have the same name: {name}$"
    ):
        replace(DEPENDENCIES, constants={name: 7})


@pytest.mark.parametrize("wrong", [Later(PUBLISH, after=LEASE), Unsubscribed(PUBLISH)])  # type: ignore[arg-type]
def test_what_publishes_is_not_for_later_and_not_unsubscribed(wrong: Any) -> None:
    """It would be published at once, and nobody would notice."""
    with pytest.raises(WiringError, match="PUBLISH .* can only be Ordered.*: .*Publish object"):
        Handlers(commands=[], events=[on(ThingMade, wrong)])


@pytest.mark.parametrize(
    ("at_once", "per_minute", "name", "complaint"),
    [
        (None, None, None, "give at_once or per_minute to a limit, or both: .*count"),
        (0, None, None, "a whole number of 1 or more: 0$"),
        (True, None, None, "a whole number of 1 or more: True$"),
        (None, 2.5, None, "a whole number of 1 or more: 2.5$"),
        (5, None, "a name:", "name of a limit has the form of .*: 'a name:'$"),
    ],
)
def test_a_limit_has_numbers_from_one_on(
    at_once: Any, per_minute: Any, name: Any, complaint: str
) -> None:
    """With 0, nothing would ever begin, and no list of pauses would say so."""
    with pytest.raises(WiringError, match=complaint):
        Limited(count, at_once=at_once, per_minute=per_minute, name=name)


@pytest.mark.parametrize(
    ("handlers", "complaint"),
    [
        (
            {ThingMade: [Limited(count, at_once=1)], ThingRenamed: [count]},
            "the same limit.*: count$",
        ),
        (
            {
                ThingMade: [Limited(count, at_once=1, name="bank")],
                ThingRenamed: [Limited(greet, at_once=2, name="bank")],
            },
            "share a limit give it the same numbers.*bank.*at_once=1.*at_once=2",
        ),
        ({ThingMade: [Limited(count, at_once=lambda settings: settings.calls)]}, "calls"),
        ({ThingMade: [Limited(count, per_minute=lambda settings: 0)]}, "of 1 or more: 0$"),
    ],
)
def test_a_limit_is_the_same_wherever_it_is_said(handlers: Any, complaint: str) -> None:
    """Claims would keep one of them, and nobody knows which."""
    with pytest.raises(WiringError, match=complaint):
        table({**PLAIN, **handlers}).limits(Settings())


def test_only_events_have_handlers_with_a_limit() -> None:
    """A command is executed at once, by anyone who has it; and a broker takes what comes."""
    with pytest.raises(WiringError, match="record an event, and limit its handler.*: MakeThing$"):
        Handlers(commands=[on(MakeThing, Limited(make_thing, at_once=1))], events=[])
    limited: Any = Limited(PUBLISH, at_once=1)  # type: ignore[arg-type]
    with pytest.raises(WiringError, match="PUBLISH .* can only be Ordered"):
        Handlers(commands=[], events=[on(ThingMade, limited)])


def test_all_names_of_a_handler_share_its_limit() -> None:
    """Also what was stored before it was renamed, and what it gets no longer."""
    limited: Any = [Limited(Later(greet, after=LEASE), at_once=lambda settings: 5)]
    limited += [Limited(Unsubscribed(count), per_minute=100, name="bank")]
    handlers = table({**PLAIN, ThingMade: limited}, renamed={"hello": "greet"})

    greeting, bank = limits.Limit("greet", 5, None), limits.Limit("bank", None, 100)
    assert handlers.limits(Settings()) == {"greet": greeting, "hello": greeting, "count": bank}
    assert handlers.subscriptions(Settings())[ThingMade] == {"greet": HandlerSubscription(30.0)}
    assert {*bind(handlers, DEPENDENCIES).limited} == {"greet", "hello", "count"}


async def test_a_bus_whose_store_knows_no_limits_is_refused(new_world: NewWorld) -> None:
    """Anyone who puts both together by hand would get no limit, and not notice."""
    world = await new_world(event_handlers=on_made(Limited(greet, at_once=1)))
    store = new_delivery_store(world.database, world.policy)

    with pytest.raises(WiringError, match="the table's limits to new_delivery_store.*: greet$"):
        replace(world.bus, delivery_store=store)


async def by_name(event: ThingMade) -> str:
    return event.name


@pytest.mark.parametrize("key", ["name", by_name])
def test_a_key_is_a_function_of_the_event(key: Any) -> None:
    """Each commit of such an event would fail, or have a key of its own."""
    with pytest.raises(WiringError, match="a function of it, .*def.*: .*name"):
        on(ThingMade, count, key=key)


def test_a_delay_is_the_value_of_a_setting() -> None:
    """The table names it, so that anyone who reads the table finds it in the environment, too."""
    misspelt = table(on_made(Later(count, after=lambda settings: settings.patience)))

    with pytest.raises(WiringError, match="a setting that does not exist: .*patience"):
        misspelt.subscriptions(Settings())


def test_what_is_right_is_bound_and_subscribed() -> None:
    """A handler of two events is one; an event may have none, a handler no event any longer.

    Handlers of a port that is not configured are left to other processes: each attempt would be
    one less for these.
    """
    handlers = table(
        {
            **PLAIN,
            ThingMade: [
                looks_up_for_an_effect,
                charges,  # returns a command that has a handler
                takes_what_only_a_checker_imports,
                greet,
                Later(count, after=LEASE),
            ],
            ThingRenamed: [greet, Unsubscribed(another_name)],
        },
        renamed={"hello": "greet"},
    )

    registry = bind(handlers, DEPENDENCIES)
    subscriptions = handlers.subscriptions(Settings())

    with_bell = {"looks_up_for_an_effect", "charges", "greet", "hello"}
    without = {"takes_what_only_a_checker_imports", "count", "another_name"}
    assert registry.events.keys() == with_bell | without
    assert registry.events["hello"] is registry.events["greet"]
    assert subscriptions[ThingMade].keys() == (with_bell | without) - {"hello", "another_name"}
    assert subscriptions[ThingMade]["count"].delay == 30
    assert subscriptions[ThingRenamed] == {"greet": HandlerSubscription()}
    no_bell = replace(DEPENDENCIES, effect_ports={"bell": None})
    assert bind(handlers, no_bell).events.keys() == without


async def another_name(event: Event) -> None:
    """Get nothing new."""


async def test_a_handler_is_given_what_it_asks_for_by_name() -> None:
    """In any order, and nothing else: that keeps a handler easy to call and to test."""
    given: dict[str, Any] = {}

    async def handler(
        message: Event, idempotency_key: IdempotencyKey, new_token: Callable[[], str], uow: object
    ) -> None:
        given.update(message=message, key=idempotency_key, token=new_token(), uow=uow)

    delivery, bound_handler = a_claim(), BoundHandler(handler, DEPENDENCIES)
    for uow in ("first", "second"):  # each attempt has its own
        await bound_handler.run(delivery, uow)
        key = delivery.idempotency_key
        assert given == {"message": delivery.message, "key": key, "token": "TOKEN", "uow": uow}


class Unmapped(Aggregate):
    """An aggregate for which somebody has forgotten the mapping."""


class WithUnmapped(UnitOfWork):
    """A unit of work with a repository of it."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self.others = Repository[Unmapped, UUID](transaction, Unmapped, ThingNotFound)


class Abstract(UnitOfWork, ABC):
    """A unit of work in which somebody has forgotten a repository."""

    @property
    @abstractmethod
    def others(self) -> Repository[Club, UUID]: ...


class WrongMethods:
    """A unit of work whose methods are of the wrong kind."""

    def __init__(self, transaction: Transaction) -> None: ...

    def before_commit(self) -> None:
        """Forget to be asynchronous."""

    async def refusals(self, seen: Sequence[object]) -> Mapping[str, Exception]:
        """Be asynchronous without need."""
        return {}


@pytest.mark.parametrize(
    ("new_uow", "complaint"),
    [
        (WithUnmapped, "(?s)mapped onto no table.*, for: Unmapped$"),
        (Abstract, "cannot be made, so each handler .* TypeError: .*others"),
        (WrongMethods, "(?s)have another form.*: before_commit, refusals$"),
    ],
)
async def test_a_unit_of_work_with_which_nobody_can_work_is_a_mistake_at_start(
    database_url: str, new_uow: Callable[[Transaction], object], complaint: str
) -> None:
    """Each command would fail, and each delivery be parked in the end."""
    start_mappers()
    settings = Settings(database_url=database_url)
    with pytest.raises(WiringError, match=complaint):
        async with open_application(APP, settings, new_uow, effect_ports={"bell": RecordingBell()}):
            pass


class Ringing(Extension):
    """It brings a bell, for who delivers."""

    def __init__(self) -> None:
        self.bells: list[RecordingBell] = []
        self.make: Callable[[], RecordingBell] = RecordingBell

    def parts(self) -> Parts:
        return Parts(name="ringing", ports={"bell": self._new_bell})

    def _new_bell(self, settings: EngineSettings, *, delivers: bool) -> RecordingBell | None:
        self.bells += [self.make()] if delivers else []
        return self.bells[-1] if delivers else None


@pytest.fixture
def ringing(database_url: str) -> tuple[Ringing, Callable[..., Any]]:
    """An extension that brings a port, and what opens an application that has it."""
    start_mappers()
    extension, settings = Ringing(), Settings(database_url=database_url)
    app = APP.with_parts(extensions=[*APP.extensions, extension])
    return extension, partial(open_application, app, settings, UnitOfWork)


async def test_handlers_may_ask_for_the_port_of_an_extension(
    ringing: tuple[Ringing, Callable[..., Any]],
) -> None:
    """An entry in the list of extensions is all; who does not deliver has none."""
    extension, opening = ringing
    async with opening() as application:
        report = await application.bus.handle(a_command("lamp"))
    async with opening(delivers=False) as looking:
        able = set(looking.bus.registry.events)

    assert report.failures == []
    assert [text for bell in extension.bells for text in bell.texts] == ["lamp", "lamp shines"]
    assert able.isdisjoint({"announce", "praise"})


class OpenBell(RecordingBell):
    """A bell that has something open, such as a connection."""

    is_open = True

    async def aclose(self) -> None:
        self.is_open = False


async def test_a_port_that_can_be_closed_is_closed_with_the_application(
    ringing: tuple[Ringing, Callable[..., Any]],
) -> None:
    """After the last handler has ended: it may be in the middle of a call."""
    extension, opening = ringing
    extension.make = OpenBell
    async with opening() as application:
        await application.bus.handle(a_command("lamp"))
        [bell] = extension.bells
        assert isinstance(bell, OpenBell)
        assert bell.is_open

    assert not bell.is_open


async def test_an_application_puts_its_own_port_in_the_place_of_an_extensions_or_around_it(
    ringing: tuple[Ringing, Callable[..., Any]],
) -> None:
    """A test has a double, which needs no settings; another port may be made out of it."""
    extension, opening = ringing
    async with opening(effect_ports={"bell": RecordingBell()}):
        assert extension.bells == []

    def around(database: Database, offered: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        return {"bell": offered["bell"]()}

    async with opening(effect_ports=around) as application:
        await application.bus.handle(a_command("lamp"))
    [bell] = extension.bells
    assert bell.texts == ["lamp", "lamp shines"]


async def test_each_broker_is_a_handler_of_its_own(new_world: NewWorld) -> None:
    """So that one that is down delays only its own deliveries."""
    rabbitmq, kafka = RecordingPublisher(), RecordingPublisher(OSError("Kafka is down"))
    published = HANDLERS.publishing_to({"rabbitmq": rabbitmq, "kafka": kafka})
    world = await new_world(event_handlers=published.events)

    report = await world.bus.handle(a_command())

    failed = {failure.delivery.handler for failure in report.failures}
    assert failed == {"publish_event_to_kafka"}
    assert [type(each.event) for each in rabbitmq.published] == [ThingMade]  # polishing is private


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinedElsewhere(Event):
    """An event that nobody would find by its stored name."""

    amount: int


def test_an_event_that_nobody_could_read_is_not_stored() -> None:
    """It is in no table either, so at start nobody could see it."""
    with pytest.raises(WiringError, match="(?s)the Codec does not know.*: DefinedElsewhere"):
        CODEC.to_row(an_envelope(DefinedElsewhere(amount=1)))
