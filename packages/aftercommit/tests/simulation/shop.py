"""The application in the world: it takes orders, with a handler of each kind.

Handlers tell the ledger what they do. What they do besides, chance decides: they may be slow, hang,
fail, or leave a task behind. Each exists twice: with `uow`, and with a `session` of its own.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial, wraps
from typing import Any, ClassVar
from uuid import UUID

import anyio
import anyio.lowlevel
import sqlalchemy as sa
from aftercommit import (
    App,
    Codec,
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
    Outbox,
    Refused,
    Repository,
    Transaction,
    Unavailable,
    on,
)
from aftercommit.errors import ConcurrentUpdate
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import object_session, registry

from simulation.ledger import PATIENCE, Ledger
from simulation.rows import NOTE, number_of
from simulation.world import this_process

DELAY = 15.0  # seconds of a handler that is for later
CONTENTION = 20.0  # seconds for which others may change what a reply changes
PARCELS = 2  # of an order: events of one commit, and of one lane
STRAYS_WAIT = 5.0  # seconds, at most

metadata = sa.MetaData()
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
payments = sa.Table(
    "payments",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("payment", sa.Integer, nullable=False),
    sa.Column("amount", sa.Integer, nullable=False),
)
effects = sa.Table(  # of handlers in the database, in the order in which they were written
    "effects",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String, nullable=False),
)


@dataclass(frozen=True)
class PlaceOrder:
    """Place an order."""

    order_id: UUID
    customer: str


@dataclass(frozen=True)
class StoreReply:
    """Store what the bank has answered."""

    key: str


@dataclass(frozen=True)
class LetGo:
    """Let an order go that could not be settled."""

    key: str


@dataclass(frozen=True)
class TakePayment:
    """Take what the bank says that somebody has paid."""

    payment: int
    amount: int


@dataclass(frozen=True)
class OrderPlaced:
    """An order was placed."""

    order_id: UUID
    customer: str


@dataclass(frozen=True)
class OrderPacked:
    """An order was packed."""

    order_id: UUID
    customer: str


@dataclass(frozen=True)
class OrderWithdrawn:
    """An order was withdrawn: always in a savepoint that is rolled back."""

    order_id: UUID
    customer: str


@dataclass(frozen=True)
class OrderNoted:
    """Something was noted about an order, with its commit."""

    order_id: UUID
    number: int


@dataclass(frozen=True)
class PaymentTaken:
    """A payment was taken."""

    payment: int


OrderEvent = OrderPlaced | OrderPacked | OrderWithdrawn | OrderNoted | PaymentTaken
PAYMENT = 10_000  # the first number of what events of payments are about: there are fewer orders


def notes_of(order_id: UUID, number: int) -> Iterator[tuple[OrderNoted, UUID]]:
    """Yield so many notes of an order, and what each is about."""
    for note in range(1, number + 1):
        yield OrderNoted(order_id, note), UUID(int=note * NOTE + order_id.int)


class CardRefused(Refused):
    """The bank says no, forever."""


class Order:
    """The aggregate."""

    recorded: Sequence[object]

    def __init__(self, order_id: UUID, customer: str) -> None:
        self.id, self.version = order_id, 0
        self.recorded = [OrderPlaced(order_id, customer)]

    @property
    def subject(self) -> str:
        """What its events are about."""
        return str(self.id)

    def pack(self, customer: str) -> None:
        """Be packed."""
        self.recorded = [OrderPacked(self.id, customer) for _ in range(PARCELS)]

    def pull_events(self) -> Sequence[object]:
        """Return what was recorded, once."""
        recorded, self.recorded = getattr(self, "recorded", ()), ()
        return recorded


registry().map_imperatively(Order, orders, version_id_col=orders.c.version)


class UnitOfWork:
    """The repository of orders, and statements."""

    def __init__(self, transaction: Transaction) -> None:
        self.orders = Repository[Order, UUID](transaction, Order, KeyError)
        self.execute, self.flush, self.record = (
            transaction.execute,
            transaction.flush,
            transaction.record,
        )

    async def before_commit(self) -> None:
        """Project nothing."""

    def refusals(self, seen: Sequence[object]) -> Mapping[str, Exception]:
        """Refuse nothing."""
        return {}


class Behaviour:
    """What handlers do besides their work, and who is told."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        misbehaving: float,
        unavailable: float,
        slowness: float,
        ending: Sequence[str],
        notes: int,
    ) -> None:
        self.ledger, self._misbehaving, self._ending = ledger, misbehaving, ending
        self.outside_world = OutsideWorld(ledger, unavailable, slowness)
        self.notes = notes  # of each order
        self.troubled = set[int]()  # payments that were not taken when they could have been
        self.planned = deque[str]()  # how handlers misbehave next; an empty text: not at all
        self.ends = deque[str]()  # by what the next handlers end their transactions
        self.mistakes = 0  # of how many of the next writes a handler swallows the error
        self.slow_replies = deque[float]()  # seconds that the next ones take
        self.contentions = deque[float]()  # seconds, of the next replies
        self._contended = dict[str, float]()  # until when others change the same data

    async def misbehave(self, stray: Callable[[], Awaitable[object]] | None = None) -> None:
        """Be slow, hang, or fail, perhaps; `stray` is what a task does that is left behind."""
        random = self.ledger.world.random
        if self.planned:
            kind = self.planned.popleft()
        elif self.ledger.faults.happens(self._misbehaving):
            kinds = ["slow", "slow", "hang", "bug", "unavailable", "refused", "exit"]
            kind = random.choice([*kinds, "stray", "conflict"] if stray else kinds)
        else:
            return
        if not kind:
            return
        process, seconds = this_process(), {"slow": 8.0, "hang": 10.0}.get(kind, 0.0)
        process.occupied_until = max(process.occupied_until, self.ledger.world.now + seconds)
        self.ledger.world.story.tell(process, f"  a handler misbehaves: {kind}")
        if kind == "slow":
            await anyio.sleep(random.uniform(0, 8))
        elif kind == "hang":
            await anyio.sleep_forever()
        else:
            if "stray" in kind and stray:
                later = random.choice([0.0, STRAYS_WAIT]) if kind == "stray" else 0.0
                await _leave_behind(random.uniform(0, later), stray, kind.endswith("under way"))
            if kind in ERRORS:
                raise ERRORS[kind]()

    def is_wrong(self) -> bool:
        """Tell whether a handler writes what the database refuses, and goes on as if it had not."""
        self.mistakes -= (is_planned := self.mistakes > 0)
        return is_planned or self.ledger.faults.happens(self._misbehaving)

    async def end_transaction(self, transaction: Any) -> None:
        """End a transaction in SQL, perhaps, as no handler may: by a COMMIT, or by an error."""
        random = self.ledger.world.random
        if self.ends or self.ledger.faults.happens(self._misbehaving / 5):
            sql = self.ends.popleft() if self.ends else random.choice(self._ending)
            if not sql:
                return
            self.ledger.world.story.tell(this_process(), f"  a handler executes {sql}")
            with suppress(Exception):
                await transaction.execute(sa.text(sql))

    def contend(self, key: str) -> None:
        """Meet others who change the same data, perhaps again and again, for a while.

        :raises ConcurrentUpdate: as long as they do
        """
        world = self.ledger.world
        if key not in self._contended:
            if self.contentions:
                seconds = self.contentions.popleft()
            elif self.ledger.faults.happens(self._misbehaving):
                seconds = world.random.uniform(0, CONTENTION)
            else:
                seconds = 0.0
            self._contended[key] = until = world.now + seconds
            process = this_process()
            process.occupied_until = max(process.occupied_until, until)
        if world.now < self._contended[key]:
            raise ConcurrentUpdate


ERRORS: Mapping[str, Callable[[], BaseException]] = {
    "bug": partial(RuntimeError, "a bug"),
    "stray": partial(RuntimeError, "a bug, beside a task that goes on"),
    "fails, and leaves a stray": partial(RuntimeError, "a bug"),
    "fails beside a stray that is under way": partial(RuntimeError, "a bug"),
    "unavailable": partial(Unavailable, "something"),
    "refused": CardRefused,
    "exit": SystemExit,
    "conflict": ConcurrentUpdate,
}


async def _leave_behind(
    seconds: float, stray: Callable[[], Awaitable[object]], is_under_way: bool
) -> None:
    """Let a task do something later; or at once, and go on when it has asked the database."""

    async def work() -> None:
        with suppress(Exception):  # the engine refuses it, once the handler has ended
            await asyncio.sleep(seconds)
            await stray()

    asyncio.get_running_loop().create_task(work())
    for _ in range(2 * is_under_way):
        await anyio.lowlevel.checkpoint()


class OutsideWorld:
    """An external system: what happens there stays."""

    def __init__(self, ledger: Ledger, unavailable: float, slowness: float) -> None:
        self._ledger, self._unavailable, self._slowness = ledger, unavailable, slowness

    async def act(self, key: str) -> None:
        """Have an external effect, after a while, and answer after another."""
        random = self._ledger.world.random
        await anyio.sleep(random.uniform(0, self._slowness))
        if self._ledger.faults.happens(self._unavailable):
            raise Unavailable("the external system")
        self._ledger.acts(key)
        await anyio.sleep(random.uniform(0, self._slowness))


def watched(handler: Any) -> Any:
    """Let the ledger know when a handler begins and fails, and let it misbehave."""

    @wraps(handler)
    async def watching(
        event: Any, idempotency_key: IdempotencyKey, envelope: Envelope, **given: Any
    ) -> Any:
        behaviour: Behaviour = this_process().behaviour
        behaviour.ledger.begins(idempotency_key, envelope)
        transaction = given.get("uow", given.get("session"))
        stray = transaction and partial(_write_effect, transaction, idempotency_key)
        try:
            await behaviour.misbehave(stray)
            if transaction:
                await behaviour.end_transaction(transaction)
            reply = await handler(
                event, idempotency_key=idempotency_key, envelope=envelope, **given
            )
            await behaviour.misbehave(stray)
            if transaction:
                await behaviour.end_transaction(transaction)
        except BaseException as error:
            if isinstance(error, RuntimeError) and hasattr(event, "customer"):
                error.args = (f"{error} about {event.customer}",)  # as errors quote what they have
            behaviour.ledger.raises(idempotency_key, error)
            behaviour.ledger.ends(idempotency_key, has_returned=False)
            raise
        behaviour.ledger.ends(idempotency_key, has_returned=True)
        return reply

    return watching


async def _write_effect(transaction: Any, key: str | None) -> None:
    await transaction.execute(sa.insert(effects), [{"key": key}])


async def place_order(command: PlaceOrder, uow: UnitOfWork) -> None:
    """Place an order."""
    behaviour: Behaviour = this_process().behaviour
    await behaviour.misbehave()
    uow.orders.add(Order(command.order_id, command.customer))
    for note, about in notes_of(command.order_id, behaviour.notes):
        uow.record(note, subject=about)
    if command.order_id.int % 2:  # what is written, the session knows only as long as others do
        await uow.flush()
    await behaviour.misbehave()


async def store_reply(command: StoreReply, uow: UnitOfWork) -> None:
    """Store what the bank has answered."""
    behaviour: Behaviour = this_process().behaviour
    behaviour.contend(command.key)
    if behaviour.slow_replies:
        await anyio.sleep(behaviour.slow_replies.popleft())
    await _write_effect(uow, command.key)


async def let_go(command: LetGo, uow: UnitOfWork) -> None:
    """Let an order go, or fail at that, and be tried again."""
    behaviour: Behaviour = this_process().behaviour
    await behaviour.misbehave()
    await _write_effect(uow, command.key)


async def settle_otherwise(
    event: OrderPlaced, failure: GivenUp, idempotency_key: IdempotencyKey, envelope: Envelope
) -> LetGo:
    """Say what happens instead of settling an order."""
    behaviour: Behaviour = this_process().behaviour
    behaviour.ledger.gives_up(idempotency_key, failure, envelope)
    return LetGo(idempotency_key)


async def take_payment(command: TakePayment, uow: UnitOfWork) -> None:
    """Take a payment, and fail perhaps, so that its message comes again or is a dead letter."""
    behaviour: Behaviour = this_process().behaviour
    try:
        await behaviour.misbehave()
        await uow.execute(sa.insert(payments), [asdict(command)])
        subject = UUID(int=PAYMENT + command.payment)
        uow.record(PaymentTaken(command.payment), subject=subject)
        await behaviour.misbehave()
    except BaseException:
        behaviour.troubled.add(command.payment)
        raise


def in_transaction(name: str) -> Any:
    """Return a handler of this name that has its effect in the unit of work."""

    async def handler(
        event: OrderEvent, uow: UnitOfWork, idempotency_key: IdempotencyKey, envelope: Envelope
    ) -> None:
        swallows = name == "count_up" and this_process().behaviour.is_wrong()
        with suppress(Exception) if swallows else nullcontext():
            await _write_effect(uow, None if swallows else idempotency_key)

    handler.__name__ = name
    return watched(handler)


def in_session(name: str) -> Any:
    """Return the same for an application that has sessions of its own."""

    async def handler(
        event: OrderEvent,
        session: AsyncSession,
        idempotency_key: IdempotencyKey,
        envelope: Envelope,
    ) -> None:
        await _write_effect(session, idempotency_key)

    handler.__name__ = name
    return watched(handler)


def outside(name: str) -> Any:
    """Return a handler of this name with an external effect."""

    async def handler(
        event: OrderEvent,
        outside_world: OutsideWorld,
        idempotency_key: IdempotencyKey,
        envelope: Envelope,
    ) -> None:
        await outside_world.act(idempotency_key)

    handler.__name__ = name
    return watched(handler)


@watched
async def ask_bank(
    event: OrderPlaced,
    outside_world: OutsideWorld,
    idempotency_key: IdempotencyKey,
    envelope: Envelope,
) -> StoreReply:
    """Have an external effect, and have its answer stored."""
    await outside_world.act(idempotency_key)
    return StoreReply(idempotency_key)


@watched
async def pack(
    event: OrderPlaced, uow: UnitOfWork, idempotency_key: IdempotencyKey, envelope: Envelope
) -> None:
    """Change the aggregate, which records the next event; it may come from another transaction."""
    await _write_effect(uow, idempotency_key)
    if event.order_id.int % 3:
        (await uow.orders.get(event.order_id)).pack(event.customer)
        return
    async with this_process().application.database.read_transaction() as other:
        order = await other.get(Order, event.order_id)
        if session := object_session(order):
            session.expunge(order)
    uow.orders.add(order)
    order.pack(event.customer)


async def _pack_in_session(
    event: OrderPlaced,
    session: AsyncSession,
    idempotency_key: IdempotencyKey,
    envelope: Envelope,
) -> None:
    """Record the next event in the session of a handler."""
    await _write_effect(session, idempotency_key)
    outbox: Outbox = this_process().outbox
    packed = OrderPacked(event.order_id, event.customer)
    await outbox.record(session, packed, about=event.order_id)


_pack_in_session.__name__ = "pack"


def name_of(entry: Any) -> str:
    """Return the name of a handler, whatever is said of it."""
    while hasattr(entry, "handler"):
        entry = entry.handler
    return str(entry.__name__)


class Table:
    """The handlers of one version of the shop, with `uow` or with `session`, by their names.

    The second version has two more handlers, and two that were renamed: of either, one is ordered.
    """

    def __init__(
        self,
        *,
        version: int = 1,
        has_sessions: bool = False,
        only: frozenset[str] | None = None,
        at_once: int = 2,
        per_minute: int = 0,
    ) -> None:
        new = in_session if has_sessions else in_transaction
        greet, reserve = ("greet", "reserve") if version == 1 else ("welcome", "set_aside")
        reserving: Ordered[Any] = Ordered(new(reserve), lane=None if version == 1 else "reserve")
        numbers = {"at_once": at_once} | ({"per_minute": per_minute} if per_minute else {})
        placed = {
            "write_invoice": new("write_invoice"),
            "announce": outside("announce"),
            "greet": outside(greet),
            "pack": watched(_pack_in_session) if has_sessions else pack,
            "reserve": reserving,
            "tell_customer": Ordered(outside("tell_customer")),
            "remind": Later(new("remind"), after=timedelta(seconds=DELAY)),
            "charge": Limited(outside("charge"), **numbers, name="cards"),
            "dun": Limited(
                Later(new("dun"), after=timedelta(seconds=DELAY)), **numbers, name="cards"
            ),
            "collect": Limited(new("collect"), **numbers, name="cards"),
        }
        if not has_sessions:
            placed["ask_bank"] = ask_bank
            within = timedelta(seconds=PATIENCE)
            placed["settle"] = Otherwise(outside("settle"), settle_otherwise, within=within)
        packed: dict[str, Any] = {
            "praise": Ordered(outside("praise")),
            "count_up": Ordered(new("count_up")),
        }
        self.noted: list[Any] = [Ordered(new("jot"))] if only is None or "jot" in only else []
        self.taken: list[Any] = [new("book")] if only is None or "book" in only else []
        if version == 2:
            placed["charge"] = outside("charge")  # it has a limit no more
            placed["proclaim"] = outside("proclaim")
            placed["thank"] = Ordered(outside("thank"))
        self.placed = [each for name, each in placed.items() if only is None or name in only]
        self.packed = [each for name, each in packed.items() if only is None or name in only]
        self.renamed = {"greet": "welcome", "reserve": "set_aside"} if version == 2 else {}
        subscribed = {name_of(each) for each in [*self.placed, *self.packed]}
        self.renamed = {old: new for old, new in self.renamed.items() if new in subscribed}

    @property
    def names(self) -> Mapping[str, frozenset[str]]:
        """The names of the handlers of each event, by its type."""
        of = {"order_placed": self.placed, "order_packed": self.packed, "order_noted": self.noted}
        of["payment_taken"] = self.taken
        return {type_: frozenset(name_of(each) for each in listed) for type_, listed in of.items()}

    @property
    def rows(self) -> Any:
        """The rows of the events."""
        withdrawn = on(OrderWithdrawn, outside("regret"), key=_customer)
        placed = on(OrderPlaced, *self.placed, key=_customer)
        noted = on(OrderNoted, *self.noted, key=lambda event: f"note {event.number}")
        taken = on(PaymentTaken, *self.taken)
        return [placed, on(OrderPacked, *self.packed, key=_customer), withdrawn, noted, taken]

    @property
    def handlers(self) -> Any:
        """The table of an application with units of work."""
        commands = [on(PlaceOrder, place_order), on(StoreReply, store_reply)]
        commands += [on(TakePayment, take_payment), on(LetGo, let_go)]
        return Handlers(commands=commands, events=self.rows, renamed=self.renamed)


def _customer(event: Any) -> str:
    return str(event.customer)


LANES = {name: name for name in ("reserve", "tell_customer", "count_up", "thank", "praise")} | {
    "set_aside": "reserve"
}
"""What the lanes of ordered handlers are called."""


def lane_of(customers: int, handler: str, subject: str) -> str | None:
    """Return the lane of a delivery about an order."""
    order, note = number_of(subject)
    if handler == "jot":
        return f"jot:note {note}"
    lane = LANES.get(handler)
    return lane and f"{lane}:customer {order % customers}"


OTHER_NAMES = {"greet": "welcome", "reserve": "set_aside"}
OTHER_NAMES |= {new: old for old, new in OTHER_NAMES.items()}
"""Those of handlers that were renamed."""

HANDLERS = frozenset(
    [
        *("write_invoice", "announce", "greet", "pack", "reserve", "tell_customer", "remind"),
        *("ask_bank", "praise", "count_up", "proclaim", "thank", "charge", "collect", "dun", "jot"),
        *("book", "settle"),
    ]
)
"""What a plan may choose from."""
LIMITED = frozenset(["charge", "collect", "dun"]), frozenset(["collect", "dun"])
"""Those that share the one limit, in each version."""
NEW = frozenset(["proclaim", "thank"])
"""Those of the second version, which have not handled what was before them."""
TRANSACTIONAL = frozenset(
    [
        *("write_invoice", "pack", "reserve", "set_aside", "remind", "ask_bank", "count_up"),
        *("collect", "dun", "jot", "book"),
    ]
)
"""Those whose effect is in the database, exactly once."""

CODEC: Codec[Any] = Codec(
    source="/shop", events=[OrderPlaced, OrderPacked, OrderWithdrawn, OrderNoted, PaymentTaken]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Those of the engine."""

    application: ClassVar[str] = "shop"


def application(extensions: Sequence[Extension] = ()) -> App[Settings]:
    """Return the application; the services of extensions would be processes of their own."""
    return App(
        "shop",
        summary="Take orders.",
        handlers="",  # each of its versions has its own
        codec=CODEC,
        settings=Settings,
        open="",  # the simulation does
        database_url="sqlite:///shop.db",
        extensions=extensions,
    )
