"""One world: processes of the shop, clients, operators and faults, until all must be done."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Protocol
from uuid import UUID

import anyio
import sqlalchemy as sa
from aftercommit import (
    Application,
    Extension,
    MessageOrigin,
    Observer,
    Outbox,
    Outcome,
    Sources,
    open_application,
)
from aftercommit.errors import ConcurrentUpdate, MessageAlreadyHandled, TransientError
from aftercommit.process.worker import Worker
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from simulation import shop
from simulation.broker import SOURCE, Messages, consume
from simulation.faults import Faults, Server
from simulation.ledger import Ledger, Reader
from simulation.limits import Limits
from simulation.operators import Operator, set_right
from simulation.plan import Plan, Request
from simulation.rows import caller, number_of
from simulation.stored import Stored
from simulation.story import LogHandler
from simulation.world import BEGIN, Process, World

LEASE, HANDLER_TIMEOUT = 15.0, 10.0
POLICY = {
    "lease_seconds": LEASE,
    "handler_timeout_seconds": HANDLER_TIMEOUT,
    "retry_max_seconds": 20.0,
}
GRACE = 5.0  # seconds for what runs in a process that is asked to stop
PATIENCE = 40.0  # seconds after which a client that has no answer asks again
DRAIN = 600.0  # seconds, at most, in which all has to be done when nothing breaks any longer
CLIENT = "/client"


def message_id(number: int) -> str:
    """Return the id of the message by which an order is placed; it says by whom."""
    return f"{number} by {caller(number)}"


class SimulatedServer(Server, Reader, Protocol):
    """The database of a world."""

    url: str
    extensions: Sequence[Extension]  # that an application needs to use it
    ends: Sequence[str]  # statements by which a handler can end its transaction

    def new_engine(self) -> AsyncEngine:
        """Return an engine as an application has one of its own."""


class ShopProcess(Process):
    """A process of the shop."""

    behaviour: shop.Behaviour
    outbox: Outbox
    engine: AsyncEngine
    application: Application
    version: int
    sessions: list[AsyncSession]
    shutdown: anyio.Event
    scope: anyio.CancelScope


class Watching(Observer):
    """Lets the ledger know what observers are told."""

    def __init__(self, ledger: Ledger, messages: Messages) -> None:
        self._ledger, self._messages = ledger, messages

    def finished(self, outcome: Outcome) -> None:
        """Pass it on."""
        self._ledger.finished(outcome)

    def message(self, source: str, outcome: str) -> None:
        """Pass it on."""
        self._messages.handled(outcome)


Body = Callable[[ShopProcess], Any]


class Simulation:
    """A world as a plan says it, driven by `run`, or step by step by a test."""

    def __init__(self, plan: Plan, world: World, faults: Faults, server: SimulatedServer) -> None:
        self.plan, self.world, self.faults, self.server = plan, world, faults, server
        self.tables = [self._table(version) for version in range(1, plan.versions + 1)]
        self.messages = Messages(world, faults, server.query, plan.breaks)
        self.ledger = Ledger(
            world,
            faults,
            server,
            transactional=shop.TRANSACTIONAL,
            tables=[table.names for table in self.tables],
            max_attempts=plan.max_attempts,
            handler_timeout=HANDLER_TIMEOUT,
            lease=LEASE,
            notes=plan.notes,
            follows={"pack": ("order_packed", 1 if plan.has_sessions else shop.PARCELS)},
            stored=partial(
                Stored,
                lane_of=partial(shop.lane_of, plan.customers),
                names=shop.OTHER_NAMES,
                delays={"remind": shop.DELAY, "dun": shop.DELAY},
            ),
            limits=lambda ledger: Limits(
                ledger, server.query, shop.LIMITED, plan.at_once, plan.per_minute
            ),
            messages=self.messages,
        )
        self.behaviour = shop.Behaviour(
            self.ledger,
            misbehaving=plan.misbehaving,
            unavailable=plan.unavailable,
            slowness=plan.slowness,
            ending=server.ends,
            notes=plan.notes,
        )
        self.messages.follow(self.ledger, self.behaviour.troubled)
        ids = Random(f"ids {plan.seed}")
        self._sources = Sources(
            now=lambda: datetime.fromtimestamp(BEGIN + world.now, UTC),
            new_id=lambda: UUID(int=ids.getrandbits(128), version=4),
            random=world.random.random,
        )
        self._bodies: dict[str, Body] = {"worker": self._work}
        self._bodies["consumer"] = partial(consume, self.messages)
        self._begun = 0
        self._is_ending = False

    def _table(self, version: int) -> shop.Table:
        return shop.Table(
            version=version,
            has_sessions=self.plan.has_sessions,
            only=self.plan.handlers,
            at_once=self.plan.at_once,
            per_minute=self.plan.per_minute,
        )

    # processes

    def begin(self, role: str, body: Body | None = None, *, version: int = 0) -> ShopProcess:
        """Start a process: a worker, one that serves clients, or an operator's."""
        self._begun += 1
        process = ShopProcess(self.world, role, f"{role}{self._begun}")
        process.behaviour, process.version = self.behaviour, version or self.plan.versions
        process.sessions = []
        process.start(self._live(process, body or self._bodies.get(role, self._serve)))
        return process

    async def _live(self, process: ShopProcess, body: Body) -> None:
        """Run until it is asked to stop; then what runs has a while, and is cancelled."""
        process.shutdown, process.scope = anyio.Event(), anyio.CancelScope()
        try:
            with process.scope:
                await self._open(process, body)
        except (TransientError, ConcurrentUpdate) as error:
            self.world.story.tell(process, f"ends: {error!r}")
        except Exception as error:
            self.world.fail(f"{process} ends with {error!r}")
        if process.is_up and process.role != "operator" and not process.shutdown.is_set():
            self.world.fail(f"{process} has ended, and nobody has stopped it")
        process.is_up = False
        self.world.story.tell(process, "has ended", detail=True)
        self.world.after(0.0, process.end)

    async def _open(self, process: ShopProcess, body: Body) -> None:
        if self.plan.has_sessions and process.role != "operator":
            await self._open_sessions(process)
            return
        async with self._opening(process) as application:
            self._is_up(process)
            process.application = application
            await body(process)

    def _opening(self, process: ShopProcess) -> AbstractAsyncContextManager[Application]:
        if self.plan.has_sessions:
            process.outbox = self._outbox(process)
            return process.outbox.app.open(process.outbox.app.load({}))
        app = shop.application(self.server.extensions)
        return open_application(
            app,
            app.load({"database_url": self.server.url, **self._settings(process)}, {}),
            shop.UnitOfWork,
            handlers=self.tables[process.version - 1].handlers,
            effect_ports=self._ports(process),
            observers=[Watching(self.ledger, self.messages)],
            beside_others=True,
            sources=self._sources_of(process),
        )

    def _sources_of(self, process: ShopProcess) -> Sources:
        """Return the clock of a process, which may be wrong, and what else is from outside."""
        world, wrong = self.world, self.world.random.uniform(-self.plan.skew, self.plan.skew)
        now = lambda: datetime.fromtimestamp(BEGIN + world.now + wrong, UTC)  # noqa: E731
        return replace(self._sources, now=now)

    def _ports(self, process: ShopProcess) -> dict[str, shop.OutsideWorld | None]:
        is_known = process.role != "web" or not self.world.chance(self.plan.portless)
        return {"outside_world": self.behaviour.outside_world if is_known else None}

    def _outbox(self, process: ShopProcess) -> Outbox:
        table = self.tables[process.version - 1]
        return Outbox(
            "shop",
            self.server.url,
            table.rows,
            ports=self._ports(process),
            renamed=table.renamed,
            extensions=self.server.extensions,
            sources=self._sources_of(process),
            **self._settings(process),
        )

    def _settings(self, process: ShopProcess) -> dict[str, Any]:
        return {
            "dispatch": "worker" if process.role == "worker" else "inline",
            "instance_name": process.name,
            "pool_size": self.plan.pool_size,
            "worker_concurrency": self.plan.concurrency,
            "max_handlers": self.plan.max_handlers,
            "max_attempts": self.plan.max_attempts,
            **POLICY,
        }

    async def _open_sessions(self, process: ShopProcess) -> None:
        """Be an application that opens its sessions itself; some have a worker beside them."""
        process.outbox, process.engine = self._outbox(process), self.server.new_engine()
        has_worker = process.role == "worker" or self.world.chance(0.5)
        try:
            async with process.outbox.running() if has_worker else nullcontext():
                self._is_up(process)
                await process.shutdown.wait()
        finally:
            await process.engine.dispose()

    def _is_up(self, process: ShopProcess) -> None:
        self.world.story.tell(process, f"is up, with version {process.version} of the table")
        process.is_up = True

    async def _work(self, process: ShopProcess) -> None:
        concurrency = self.plan.concurrency
        await Worker(process.application, process.shutdown, concurrency=concurrency).run()

    async def _serve(self, process: ShopProcess) -> None:
        await process.shutdown.wait()

    def stop(self, process: ShopProcess) -> None:
        """Ask a process to stop, as by SIGTERM."""
        if process.is_dead or not process.is_up:
            return
        self.world.story.tell(process, "is asked to stop")

        async def stopping() -> None:
            process.shutdown.set()
            process.scope.deadline = anyio.current_time() + GRACE

        process.start(stopping())

    def up(self, role: str = "") -> list[Any]:
        """Return the processes that are up, perhaps those of a role."""
        return [p for p in self.world.processes if p.is_up and role in ("", p.role)]

    def supervise(self) -> None:
        """See to it, again and again, that there are processes of each kind."""
        plan = self.plan
        numbers = {"worker": plan.workers, "web": plan.webs, "consumer": plan.consumers}
        for role, wanted in numbers.items():
            there = [process.role for process in self.world.processes].count(role)
            for _ in range(wanted - there):
                is_old = not self._is_ending and self.world.chance(0.5)
                self.begin(role, version=1 if is_old else self.plan.versions)
        self.world.after(self.world.random.uniform(0.5, 3), self.supervise)

    # clients

    def order(self, number: int) -> None:
        """Place an order with some process, and again, until it is acknowledged."""
        if UUID(int=number) in self.ledger.acknowledged:
            return
        self.world.after(PATIENCE, partial(self.order, number))
        if there := self.up("web"):
            self.ask(self.world.random.choice(there), number)

    def ask(self, process: ShopProcess, number: int) -> None:
        """Place an order with this process, once."""
        customer = f"customer {number % self.plan.customers}"
        process.start(self._ask(process, number, shop.PlaceOrder(UUID(int=number), customer)))

    async def _ask(self, process: ShopProcess, number: int, command: shop.PlaceOrder) -> None:
        tell = self.world.story.tell
        tell(process, f"is asked to place order {number} of {command.customer}")
        fingerprint = f"{number} {command.customer}"
        origin = MessageOrigin(source=CLIENT, id=message_id(number), fingerprint=fingerprint)
        claims: Any = ()
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + LEASE) as request:
                if self.faults.happens(self.plan.impatience):
                    request.deadline = anyio.current_time() + self.world.random.expovariate(2)
                if self.plan.has_sessions:
                    await self._record(process, command, origin)
                else:
                    claims = (await process.application.bus.execute(command, origin)).claims
                self._acknowledge(process, number)
                if claims:
                    await process.application.bus.run(claims)
            if request.cancelled_caught:
                process.deserted_at = self.world.now
        except MessageAlreadyHandled:
            self._acknowledge(process, number)
        except (Exception, SystemExit) as error:  # as a web framework does
            tell(process, f"refuses order {number}: {error!r}")
            is_erased = number in {number_of(each)[0] for each in self.ledger.erased}
            if isinstance(error, IntegrityError) and (self.ledger.has_pruned or is_erased):
                self._acknowledge(process, number)  # it is there, and its id was forgotten

    def _acknowledge(self, process: ShopProcess, number: int) -> None:
        self.world.story.tell(process, f"acknowledges order {number}")
        self.ledger.acknowledged.add(UUID(int=number))

    async def _record(
        self, process: ShopProcess, command: shop.PlaceOrder, origin: MessageOrigin
    ) -> None:
        """Do in a session what the handler of the command does elsewhere."""
        order_id, outbox = command.order_id, process.outbox
        session = process.sessions.pop() if process.sessions else AsyncSession(process.engine)
        async with session, session.begin():
            if not await outbox.once(session, origin.source, str(origin.id)):
                return
            if self.plan.has_savepoints:
                async with session.begin_nested() as savepoint:
                    withdrawn = shop.OrderWithdrawn(order_id, command.customer)
                    await outbox.record(session, withdrawn, about=order_id)
                    await savepoint.rollback()
            await session.execute(sa.insert(shop.orders), [{"id": order_id, "version": 1}])
            await self.behaviour.misbehave()
            placed = shop.OrderPlaced(order_id, command.customer)
            async with session.begin_nested() if self.plan.has_savepoints else nullcontext():
                await outbox.record(session, placed, about=order_id)
                for note, about in shop.notes_of(order_id, self.plan.notes):
                    await outbox.record(session, note, about=about)
        kept = [each for each in session.info.values() if isinstance(each, list) and len(each) > 1]
        if kept:  # such as a scoped session, which is used again and again
            self.world.fail(f"a session keeps what it had to know once: {kept}")
        process.sessions.append(session)

    # operators

    def request(self, what: Request) -> None:
        """Let an operator decide something, or stop a process."""
        if self._is_ending:
            return
        if what == "stop":
            if there := [process for process in self.up() if process.role != "operator"]:
                self.stop(self.world.random.choice(there))
            return
        names = sorted(set().union(*(each for t in self.tables for each in t.names.values())))
        names += [SOURCE] * bool(self.plan.payments)
        if not names:
            return
        operator = Operator(self.world, self.ledger, what, names)
        if not self.plan.has_sessions and (there := self.up("web")) and self.world.chance(0.7):
            process = self.world.random.choice(there)  # as by its page
            process.start(self._decide(process, operator))
        else:
            self.begin("operator", lambda process: operator.decide(process, process.application))

    async def _decide(self, process: ShopProcess, operator: Operator) -> None:
        try:
            await operator.decide(process, process.application)
        except (TransientError, ConcurrentUpdate) as error:
            self.world.story.tell(process, f"decides nothing: {error!r}")

    # all of it

    def run(self) -> None:
        """Let all that the plan says happen, then heal all, and check that nothing is lost.

        :raises Violation: if a promise is broken
        """
        plan, world = self.plan, self.world
        world.after(0.0, self.supervise)
        self.faults.schedule()
        for number, time in enumerate(plan.orders, 1):
            world.after(time, partial(self.order, number))
        for time, what in plan.requests:
            world.after(time, partial(self.request, what))
        for number, time in enumerate(plan.payments, 1):
            world.after(time, partial(self.messages.publish, number))
        for time in plan.set_backs:
            world.after(time, self.messages.set_back)
        world.run(plan.seconds)
        self.drain(len(plan.orders))

    def drain(self, number_of_orders: int) -> None:
        """Let nothing break any longer, wait until all is done, and check that.

        :raises Violation: if a promise is broken
        """
        world = self.world
        self.faults.heal()
        self._is_ending = True
        self._end_old_processes()

        def is_done() -> bool:
            is_acknowledged = len(self.ledger.acknowledged) == number_of_orders
            return is_acknowledged and not self.ledger.outstanding and self.messages.are_done

        for number in range(1, number_of_orders + 1):
            self.order(number)  # or a client would lose its patience first
        end = world.now + DRAIN
        while not is_done() and world.now < end:
            for process in self.up():  # also those that were about to be up
                if process.version < self.plan.versions:
                    self.stop(process)
            is_parked = any(row.parked_at for row in self.ledger.rows.values())
            if self.ledger.paused or is_parked:
                self.begin("operator", lambda p: set_right(p.application, self.ledger))
            world.run(20, is_done)
        if not is_done():
            left = [self.ledger.name(row.key) for row in self.ledger.outstanding[:3]]
            missing = number_of_orders - len(self.ledger.acknowledged)
            world.fail(f"not done in the end: {missing} orders, {', '.join(left)}")
        world.run(world.random.choice([1.0, 1.0, 1.0, LEASE + 5]))
        self.ledger.look()
        self.ledger.check_end()

    def _end_old_processes(self) -> None:
        """End those of an older version of the table, as after a release."""
        for process in [*self.world.processes]:
            if isinstance(process, ShopProcess) and process.version < self.plan.versions:
                self.stop(process) if process.is_up else process.end()


@contextmanager
def logged(world: World) -> Iterator[None]:
    """Let the story have what the engine logs."""
    logger = logging.getLogger("aftercommit")
    handler = LogHandler(world.story)
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
