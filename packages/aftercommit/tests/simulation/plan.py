"""What a seed draws before its world begins. Each draws a mixture of its own ("swarm testing").

Source: A. Groce et al., *Swarm Testing*, ISSTA 2012: runs that each leave some things out find more
than runs in which all is possible at once. All is data here, so that a plan can be made smaller, or
be written down.
"""

from dataclasses import dataclass, fields
from random import Random
from typing import Literal

Outage = Literal["is down", "is full", "is read-only", "is locked", "jumps"]
Request = Literal[
    "retry", "discard", "pause", "resume", "prune", "replay", "erase", "limit", "stop"
]

OUTAGES: tuple[Outage, ...] = ("is down", "is full", "is read-only", "is locked")
REQUESTS: tuple[Request, ...] = (
    "retry",
    "retry",
    "discard",
    "discard",
    "pause",
    "resume",
    "prune",
    "replay",
    "erase",
    "limit",
)

BURST = 0.5  # seconds in which many orders come
SOON = 0.5  # seconds after an order, on average, in which an operator decides something


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A world to be: what there is, what happens when, and how often something breaks.

    Rates are for a call of the driver, or for a handler. Times are in seconds after the begin.
    """

    seed: int
    # what there is
    workers: int = 1
    webs: int = 1
    pool_size: int = 5
    concurrency: int = 6
    max_attempts: int = 4
    max_handlers: int = 50  # of a process at a time: others wait
    has_sessions: bool = False  # an application that opens its sessions itself
    has_savepoints: bool = False
    versions: int = 1  # of the table of handlers, in processes side by side
    customers: int = 2  # who order: each has a lane
    notes: int = 0  # of an order: events of its commit, each in a lane of its own
    skew: float = 0.0  # seconds, at most, by which the clock of a process is wrong
    at_once: int = 2  # of the handlers that ask the card company
    per_minute: int = 0  # of them; 0: as many as there are
    handlers: frozenset[str] | None = None  # None: all
    consumers: int = 0  # of what the bank publishes
    nights: int = 0  # of a world with nothing but a schedule
    # what happens when
    orders: tuple[float, ...] = ()
    requests: tuple[tuple[float, Request], ...] = ()
    payments: tuple[float, ...] = ()  # messages of the bank
    set_backs: tuple[float, ...] = ()  # when all its messages come once more
    outages: tuple[tuple[float, Outage, float], ...] = ()
    seconds: float = 20.0  # until all heals
    # how often
    latency: float = 0.003  # seconds of a way to the database, on average
    crashes: float = 0.0
    freezes: float = 0.0
    longest_freeze: float = 40.0
    breaks: float = 0.0  # of connections
    misbehaving: float = 0.0  # handlers: slow, hanging, failing, with stray tasks
    unavailable: float = 0.0  # the external system
    portless: float = 0.0  # of those that serve clients, how many do not know it
    slowness: float = 0.1  # seconds that it takes, on average
    impatience: float = 0.0  # of clients
    without: frozenset[int] = frozenset()  # faults by their numbers: they are left out

    def __str__(self) -> str:
        """Return what makes it again, without what is as it is by default."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        defaults = {each.name: each.default for each in fields(self)}
        changed = (f"{name}={value!r}" for name, value in said.items() if value != defaults[name])
        return f"Plan({', '.join(changed)})"

    @classmethod
    def of(cls, seed: int, handlers: frozenset[str]) -> "Plan":
        """Draw the plan of a seed."""
        random = Random(f"plan {seed}")
        some = random.choice
        seconds = some([8.0, 20.0, 40.0])

        def times(count: int) -> list[float]:
            return sorted(round(random.uniform(0.5, seconds), 3) for _ in range(count))

        outages: list[tuple[float, Outage, float]] = [
            (time, some(OUTAGES), round(random.uniform(0.5, 20), 1))
            for time in times(some([0, 0, 1, 3]))
        ]
        outages += [
            (time, "jumps", round(random.uniform(-20, 60), 1)) for time in times(some([0, 0, 0, 2]))
        ]
        orders = times(some([2, 4, 8]))
        if random.random() < 0.3:  # all at once, so that some wait for others
            orders = sorted(orders[0] + random.uniform(0, BURST) for _ in orders)
        # half of what operators decide comes when there is something to decide about
        asked = times(some([0, 0, 3, 8]))
        asked = [some([time, some(orders) + random.expovariate(1 / SOON)]) for time in asked]
        requests: list[tuple[float, Request]] = [(round(t, 3), some(REQUESTS)) for t in asked]
        requests += [(time, "stop") for time in times(some([0, 0, 2, 5]))]
        has_sessions = random.random() < 0.3
        has_bank = not has_sessions and random.random() < 0.4
        return cls(
            seed=seed,
            workers=some([1, 2, 2, 3]),
            webs=2,
            pool_size=some([3, 5, 10]),
            concurrency=some([2, 6, 20]),
            max_attempts=some([4, 4, 2, 1]),
            max_handlers=some([50, 50, 2]),
            has_sessions=has_sessions,
            has_savepoints=has_sessions and random.random() < 0.5,
            versions=some([1, 1, 2]),
            handlers=frozenset(name for name in sorted(handlers) if random.random() < 0.7),
            orders=tuple(round(time, 3) for time in orders),
            requests=tuple(sorted(requests)),
            outages=tuple(outages),
            seconds=seconds + 5,
            latency=some([0.001, 0.003, 0.03]),
            crashes=some([0, 0.004, 0.015]),
            freezes=some([0, 0.004, 0.015]),
            longest_freeze=some([5.0, 20.0, 45.0]),
            breaks=some([0, 0.004, 0.015]),
            misbehaving=some([0, 0.02, 0.1]),
            unavailable=some([0, 0.05, 0.3]),
            portless=some([0, 0, 0.5]),
            slowness=some([0.1, 0.1, 3.0]),
            impatience=some([0, 0.3]),
            at_once=some([1, 2, 2, 5]),
            per_minute=some([0, 0, 12, 100]),
            notes=some([0, 0, 3, 9]),
            skew=some([0.0, 3600.0]),
            consumers=some([1, 2]) if has_bank else 0,
            payments=tuple(times(some([3, 8]))) if has_bank else (),
            set_backs=tuple(times(some([0, 1, 2]))) if has_bank else (),
        )
