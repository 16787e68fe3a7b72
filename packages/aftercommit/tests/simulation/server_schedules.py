"""What the world does in the place of a server of PostgreSQL, step by step, and what it means.

`schedules.py` runs them on a server: what a server does after some time is done in the time of the
world, and clients are told what the server would have told them.
"""

from collections.abc import Callable, Sequence

from simulation.faults import Fault
from simulation.plan import Plan
from simulation.postgresql import PostgreSQLServer
from simulation.protocol import Message, error_of, query
from simulation.server_limits import Limit
from simulation.simulation import ShopProcess, Simulation

QUIET = Plan(seed=0)


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
]
