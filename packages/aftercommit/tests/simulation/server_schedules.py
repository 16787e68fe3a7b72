"""What the world does in the place of a server of PostgreSQL, step by step, and what it means.

`schedules.py` runs them on a server: what a server does after some time is done in the time of the
world, and clients are told what the server would have told them.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

import anyio
import sqlalchemy as sa
from aftercommit_tests.inside.claims import EventId
from aftercommit_tests.inside.operations import delivery_admin, handler_pauses
from sqlalchemy.ext.asyncio import AsyncSession

from simulation import shop
from simulation.faults import Fault
from simulation.operators import DECISION
from simulation.plan import Plan
from simulation.postgresql import PostgreSQLServer
from simulation.protocol import Message, error_of, query
from simulation.server_limits import Limit
from simulation.simulation import CLIENT, LEASE, ShopProcess, Simulation, message_id

QUIET = Plan(seed=0)
ONE_LANE = Plan(seed=0, customers=1, has_sessions=True, handlers=frozenset(["reserve"]))
ONE_EFFECT = Plan(seed=0, handlers=frozenset(["announce"]))
LOCK = """BEGIN; SELECT FROM aftercommit_deliveries WHERE handler = '{}' FOR UPDATE"""


class Client:
    """Another program that uses the database."""

    def __init__(self, simulation: Simulation) -> None:
        assert isinstance(simulation.server, PostgreSQLServer)
        self._sessions = simulation.server.sessions
        self.session = self._sessions.take(self._answered)
        self._answers: list[Message] = []

    def _answered(self, messages: Sequence[Message]) -> None:
        self._answers += messages

    def ask(self, sql: str) -> None:
        """Send a statement."""
        self._answers = []
        self._sessions.send(self.session, [query(sql)])

    @property
    def waits(self) -> bool:
        """Whether its statement waits for a lock."""
        return bool(self.session.waits_for)

    @property
    def error(self) -> str:
        """What the server has said if it has refused the statement."""
        return "".join(error_of(each) for each in self._answers if each.kind == b"E")

    def end(self) -> None:
        """Hang up."""
        self._sessions.release(self.session)


def a_deadlock_is_ended(simulation: Simulation) -> None:
    """The first that has waited for a second is refused, and the other one goes on."""
    one, other = Client(simulation), Client(simulation)
    one.ask("BEGIN; LOCK TABLE orders")
    other.ask("BEGIN; LOCK TABLE effects")
    one.ask("LOCK TABLE effects")
    simulation.world.run(0.5)
    other.ask("LOCK TABLE orders")
    assert one.waits
    assert other.waits

    simulation.world.run(0.6)
    assert one.error.startswith("40P01"), one.error
    assert not other.waits
    assert not other.error


def who_waits_too_long_for_a_lock_is_refused(simulation: Simulation) -> None:
    """After the time that the session has set, in the time of the world."""
    one, other = Client(simulation), Client(simulation)
    one.ask("BEGIN; LOCK TABLE orders")
    other.session.limits.set(Limit("lock_timeout", 5.0, is_local=False))
    other.ask("SELECT FROM orders")
    simulation.world.run(4.9)
    assert other.waits

    simulation.world.run(0.2)
    assert other.error.startswith("55P03"), other.error


def a_session_outlives_its_client_while_it_waits(simulation: Simulation) -> None:
    """What a client that has gone has asked for is done when the lock is free."""
    one, other, third = Client(simulation), Client(simulation), Client(simulation)
    one.ask("BEGIN; LOCK TABLE effects")
    other.ask("INSERT INTO effects (key) VALUES ('one')")
    other.end()
    third.ask("BEGIN; INSERT INTO effects (key) VALUES ('two')")
    third.end()
    one.ask("COMMIT")

    assert [key for _, key in simulation.server.query("SELECT * FROM effects")] == ["one"]


def a_frozen_process_loses_its_transaction(simulation: Simulation) -> None:
    """It has locked what others need: the server ends what is idle in a transaction."""
    web, other = started(simulation, "web"), started(simulation, "web")
    simulation.faults.at_next(web, "INSERT commands", Fault("freeze", "after", 60.0))
    simulation.ask(web, 1)
    simulation.world.run(2)
    simulation.ask(other, 1)
    simulation.world.run(8)
    assert not simulation.ledger.acknowledged  # it was refused, after a while

    simulation.world.run(5)
    simulation.ask(other, 1)
    simulation.world.run(2)
    assert simulation.ledger.acknowledged
    started(simulation, "worker")
    simulation.drain(1)


def a_lane_is_passed_by(simulation: Simulation) -> None:
    """An order is stored while the one before it is done: its lane goes on soon after that."""
    web, other = started(simulation, "web"), started(simulation, "web")
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "after", 3.0))
    simulation.ask(web, 1)
    simulation.world.run(1)
    simulation.faults.at_next(other, "COMMIT", Fault("freeze", "before", 5.0))
    simulation.ask(other, 2)
    simulation.world.run(4)
    if any(row.lane for row in simulation.ledger.outstanding):
        simulation.world.fail("who is done waits for a lane that is locked")
    simulation.world.run(6)
    if any(row.blocked for row in simulation.ledger.outstanding):
        simulation.world.fail("a lane stands still")

    started(simulation, "worker")
    simulation.drain(2)


def a_process_that_was_frozen_completes_what_others_run(simulation: Simulation) -> None:
    """What it has done is not what another one has claimed since then."""
    web = started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", "", "", "hang"])  # when it is tried again
    simulation.faults.at_next(web, "UPDATE deliveries", Fault("freeze", "before", LEASE + 5))
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.world.run(3 * LEASE)
    simulation.drain(1)


def a_delivery_is_locked_when_it_is_settled(simulation: Simulation) -> None:
    """That is no takeover: it is completed when the row is free, and others do not wait for it."""
    web, other = started(simulation, "web"), Client(simulation)
    simulation.ask(web, 1)
    simulation.world.run(5, lambda: len(simulation.ledger.running) > 1)
    other.ask(LOCK.format("greet"))  # it is done before the other one
    assert not other.error
    simulation.world.run(3)
    assert not simulation.ledger.running
    if [row for row in simulation.ledger.outstanding if row.handler != "greet"]:
        simulation.world.fail("what is completed waits for a delivery that somebody has locked")

    other.end()
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(1)


def a_delivery_is_locked_until_its_lease_is_over(simulation: Simulation) -> None:
    """The worker that has had its effect completes it then, before it claims it again."""
    web, other = started(simulation, "web"), Client(simulation)
    simulation.faults.at_next(web, "COMMIT", Fault("crash", "after"))
    simulation.ask(web, 1)
    simulation.world.run(1)
    started(simulation, "worker")
    simulation.world.run(2 * LEASE, lambda: bool(simulation.ledger.external))
    other.ask(LOCK.format("announce"))
    assert not other.error
    simulation.world.run(LEASE + 8)
    other.end()
    simulation.world.run(LEASE)
    simulation.ask(started(simulation, "web"), 1)
    simulation.drain(1)


def an_operator_decides_while_a_worker_claims(simulation: Simulation) -> None:
    """What is about to be retried is claimed when that is over: each claim has its end."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    simulation.ask(web, 1)
    simulation.world.run(2)
    [row] = simulation.ledger.outstanding
    assert not row.owner  # the process cannot run it, and has given it back
    simulation.faults.at_next(operator, "INSERT failures", Fault("freeze", "after", 5.0))
    database = operator.application.database
    operator.start(delivery_admin.retry(database, EventId(row.event_id), row.handler, DECISION))
    simulation.world.run(0.5)
    started(simulation, "worker")
    simulation.world.run(LEASE)
    simulation.drain(1)


def two_sessions_are_committed_at_the_same_time(simulation: Simulation) -> None:
    """What they have recorded gets its places one after the other."""
    web, other = started(simulation, "web"), started(simulation, "web")
    simulation.behaviour.planned.extend(["", "", "hang"])  # so that none is done at once
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "before", 3.0))
    simulation.ask(web, 1)
    simulation.world.run(0.5)
    simulation.ask(other, 2)
    simulation.world.run(2 * LEASE)
    started(simulation, "worker")
    simulation.drain(2)


def a_session_takes_its_time(simulation: Simulation) -> None:
    """It has recorded what is ordered, and keeps no other session from recording and committing."""
    web, other = started(simulation, "web"), started(simulation, "web")
    web.start(_record_slowly(simulation, web, "READ COMMITTED"))
    simulation.world.run(2)
    simulation.ask(other, 2)
    simulation.world.run(2)
    if not simulation.ledger.acknowledged:
        simulation.world.fail("a session waits for another one that has recorded an event")

    simulation.world.run(LEASE)
    started(simulation, "worker")
    simulation.drain(2)


def a_session_sees_an_old_snapshot(simulation: Simulation) -> None:
    """What it records is behind what was stored since then, which it cannot see."""
    web, other = started(simulation, "web"), started(simulation, "web")
    web.start(_record_slowly(simulation, web, "REPEATABLE READ"))
    simulation.world.run(2)
    simulation.behaviour.planned.extend(["", "hang"])  # so that it is not done at once
    simulation.ask(other, 2)
    simulation.world.run(LEASE)
    simulation.behaviour.planned.clear()
    started(simulation, "worker")
    simulation.drain(2)


def a_handler_is_resumed_before_a_commit_has_ended(simulation: Simulation) -> None:
    """What is stored as paused, since it has seen the pause, is due then: it is waited for."""
    operator, web = started(simulation, "operator"), started(simulation, "web")
    database, its = operator.application.database, list(simulation.plan.handlers or ())
    operator.start(handler_pauses.pause(database, its, DECISION))
    simulation.world.run(1)
    simulation.faults.at_next(web, "COMMIT", Fault("freeze", "before", 3.0))
    simulation.ask(web, 1)
    simulation.world.run(1)
    operator.start(handler_pauses.resume(database, its, DECISION))
    simulation.world.run(5)
    _none_is_held(simulation)


def a_handler_is_resumed_before_a_retry_has_ended(simulation: Simulation) -> None:
    """What was parked, and is held again since its handler is paused, is due then, too."""
    operator, other = started(simulation, "operator"), started(simulation, "operator")
    simulation.behaviour.planned.extend(["", "", "refused"])  # the command, then its only handler
    simulation.ask(started(simulation, "web"), 1)
    simulation.world.run(2)
    [row] = simulation.ledger.outstanding
    assert row.parked_at is not None
    database, its = operator.application.database, [row.handler]
    operator.start(handler_pauses.pause(database, its, DECISION))
    simulation.world.run(1)
    simulation.faults.at_next(operator, "COMMIT", Fault("freeze", "before", 3.0))
    operator.start(delivery_admin.retry(database, EventId(row.event_id), row.handler, DECISION))
    simulation.world.run(1)
    other.start(handler_pauses.resume(other.application.database, its, DECISION))
    simulation.world.run(5)
    _none_is_held(simulation)


def _none_is_held(simulation: Simulation) -> None:
    started(simulation, "worker")
    simulation.world.run(LEASE)
    if simulation.ledger.outstanding:
        simulation.world.fail("what a handler has missed is paused when the handler is not")
    simulation.drain(1)


async def _record_slowly(simulation: Simulation, process: ShopProcess, isolation: str) -> None:
    """Place order 1 in a session that goes on for a while before its COMMIT."""
    order_id, outbox = UUID(int=1), process.outbox
    async with AsyncSession(process.engine) as session, session.begin():
        await session.connection(execution_options={"isolation_level": isolation})
        await outbox.once(session, CLIENT, message_id(1))
        await session.execute(sa.insert(shop.orders), [{"id": order_id, "version": 1}])
        placed = shop.OrderPlaced(order_id, f"customer {1 % simulation.plan.customers}")
        await outbox.record(session, placed, about=order_id)
        await anyio.sleep(6)
    simulation.ledger.acknowledged.add(order_id)


def started(simulation: Simulation, role: str, *, version: int = 0) -> ShopProcess:
    """Start a process, and wait until it is up."""
    process = simulation.begin(role, version=version)
    simulation.world.run(10, lambda: process.is_up)
    return process


ON_POSTGRESQL: Sequence[tuple[Plan, Callable[[Simulation], None]]] = [
    (QUIET, a_deadlock_is_ended),
    (QUIET, who_waits_too_long_for_a_lock_is_refused),
    (QUIET, a_session_outlives_its_client_while_it_waits),
    (QUIET, a_frozen_process_loses_its_transaction),
    (Plan(seed=0, customers=1), a_lane_is_passed_by),
    (
        Plan(seed=0, handlers=frozenset(["announce"])),
        a_process_that_was_frozen_completes_what_others_run,
    ),
    (
        Plan(seed=0, handlers=frozenset(["announce", "greet"]), slowness=1.0),
        a_delivery_is_locked_when_it_is_settled,
    ),
    (
        Plan(seed=0, handlers=frozenset(["announce"]), slowness=1.0),
        a_delivery_is_locked_until_its_lease_is_over,
    ),
    (
        Plan(seed=0, handlers=frozenset(["announce"]), portless=1.0, slowness=5.0),
        an_operator_decides_while_a_worker_claims,
    ),
    (ONE_EFFECT, a_handler_is_resumed_before_a_commit_has_ended),
    (ONE_EFFECT, a_handler_is_resumed_before_a_retry_has_ended),
    (ONE_LANE, two_sessions_are_committed_at_the_same_time),
    (ONE_LANE, a_session_takes_its_time),
    (ONE_LANE, a_session_sees_an_old_snapshot),
]
