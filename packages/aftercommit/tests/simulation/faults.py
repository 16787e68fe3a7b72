"""What breaks in a world, and when, as its plan says."""

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Literal, Protocol

from simulation.plan import Outage, Plan
from simulation.world import Connection, Process, World

WRITES = ("INSERT", "UPDATE", "DELETE", "CLAIM", "COMMIT")
LONGEST_STATEMENT = 90.0  # seconds between a statement and its COMMIT, if a process is frozen
BUSY_IS_LONG = 1.0  # seconds for which others hold up a process
LIKELY = ("CLAIM", "COMMIT")  # calls with more to lose

Moment = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a process at a call of its driver, before its effect or after it."""

    kind: Literal["crash", "break", "freeze"]
    moment: Moment
    seconds: float = 0.0  # for which it is frozen


class Server(Protocol):
    """The database, as far as it can break as a whole."""

    def lock(self, seconds: float) -> bool:
        """Hold its write lock for so long, or tell that somebody else has it."""


class Faults:
    """Draws for each call, and for each handler, whether something breaks."""

    def __init__(self, world: World, plan: Plan, server: Server) -> None:
        self.world, self._plan, self._server = world, plan, server
        self._until: dict[Outage, float] = {}
        self.is_over = False
        self._planned: list[tuple[Process, str, Fault]] = []
        self.drawn = self.number = 0
        self.calm_since = 0.0  # since when nothing has kept any process from what it wants to know
        self.outage_until = -inf  # of the database, for all processes
        self.jumped_at = -1e9  # the clock of the database

    def happens(self, probability: float) -> bool:
        """Draw whether a fault happens. Each has a number, by which a plan can leave it out."""
        if self.is_over or not self.world.chance(probability):
            return False
        self.drawn += 1
        if self.drawn in self._plan.without:
            return False
        self.number += 1
        return True

    def at_next(self, process: Process, call: str, fault: Fault) -> None:
        """Let a fault happen at the next call of a process that begins like this."""
        self._planned.append((process, call, fault))

    def of_call(self, process: Process, call: str) -> Fault | None:
        """Return what happens at a call of this process."""
        for planned in self._planned:
            if planned[0] is process and call.startswith(planned[1]):
                self._planned.remove(planned)
                return planned[2]
        plan, random = self._plan, self.world.random
        often = 4 if call in LIKELY else 1
        moment: Moment = random.choice(["before", "after"])
        if self.happens(plan.crashes * often):
            return Fault("crash", moment)
        if self.happens(plan.breaks * often):
            return Fault("break", moment)
        if self.happens(plan.freezes * often):
            return Fault("freeze", moment, random.uniform(0.5, plan.longest_freeze))
        return None

    def strike(self, fault: Fault, process: Process, connection: Connection, call: str) -> None:
        """Let a fault happen to a process at a call over one of its connections."""
        moment = f"{fault.moment} {call}"
        match fault.kind:
            case "crash":
                process.crash(moment)
            case "freeze":
                process.freeze(fault.seconds, moment)
                self.disturb(fault.seconds)
            case "break":
                self.world.story.tell(process, f"LOSES A CONNECTION {moment}")
                process.broken_at = self.world.now
                connection.break_off()

    @property
    def is_full(self) -> bool:
        """Whether nothing can be written, for want of space."""
        return self._is_now("is full")

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written, as on a standby."""
        return self._is_now("is read-only")

    def refusal(self, call: str) -> str | None:
        """Return what the database says instead of what it is asked."""
        if call.startswith(WRITES) and self.is_full:
            return "database or disk is full"
        if call.startswith(WRITES[:-1]) and self.is_read_only:
            return "attempt to write a readonly database"
        return None

    def clock_is_steady(self, since: float) -> bool:
        """Tell whether the clock has not jumped since any statement began that is not over then."""
        return self.jumped_at < since - LONGEST_STATEMENT

    def disturb(self, seconds: float) -> None:
        """Note that something may keep processes from what they want to know for so long."""
        self.calm_since = max(self.calm_since, self.world.now + seconds)

    def schedule(self) -> None:
        """Put the outages of the plan on the agenda."""
        for time, what, seconds in self._plan.outages:
            self.world.after(time, partial(self.begin, what, seconds))

    def begin(self, what: Outage, seconds: float) -> None:
        """Let the database be down, full, read-only or locked for so long, or its clock jump."""
        if self.is_over:
            return
        if what == "is locked" and not self._server.lock(seconds):
            self.world.after(0.05, partial(self.begin, what, seconds))
            return
        self.number += 1
        if what == "jumps":
            self.world.story.tell("clock", f"JUMPS by {seconds:.1f} s")
            self.world.clock_is_ahead += seconds
            self.jumped_at = self.world.now
            return
        self.world.story.tell("database", f"{what.upper()} for {seconds:.1f} s")
        self.disturb(seconds)
        self.outage_until = max(self.outage_until, self.world.now + seconds)
        self._until[what] = max(self._until.get(what, 0.0), self.world.now + seconds)
        if what == "is down":
            for process in self.world.processes:
                process.broken_at = self.world.now
            for connection in [c for process in self.world.processes for c in process.connections]:
                connection.break_off()
        self.world.after(seconds, partial(self._tell_end, what))

    def _tell_end(self, what: Outage) -> None:
        if not self._is_now(what) and not self.is_over:
            self.world.story.tell("database", f"no longer {what}")

    def _is_now(self, what: Outage) -> bool:
        return not self.is_over and self.world.now < self._until.get(what, 0.0)

    @property
    def is_down(self) -> bool:
        """Whether nobody can connect."""
        return self._is_now("is down")

    def heal(self) -> None:
        """Let nothing more break; what is frozen goes on."""
        for process, call, _ in self._planned:
            self.world.fail(f"a fault was to happen at {call}, and {process} makes no such call")
        self.world.story.tell("", "—— from now on nothing breaks ——")
        self.is_over = True
        for process in self.world.processes:
            process.thaw(at_once=True)
