"""How many deliveries of a handler may run at once, and begin in a minute. Pure: no I/O.

The rate is a leaky bucket in the form of ATM's generic cell rate algorithm (GCRA, ITU-T I.371): all
that it stores is one time, the `tat`, until which the claims so far are spread out. `burst` claims
may be ahead of it. Windows are half-open: no 60 seconds by the clock of the database, with one of
their two ends, have more claims than `per_minute`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

MINUTE = 60.0
GRID = 2.0**20
"""Intervals are whole parts of a second: so sums of them, and of times since 1970, are exact."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What handlers of one `name` share. A number that is None is not limited."""

    name: str
    at_once: int | None = None
    per_minute: int | None = None


Limits = Mapping[str, Limit]
"""By all names of the handlers that have one."""
NO_LIMITS: Limits = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """How much of a limit is used `now`, by the clock of the database, as all times here.

    `limit` has the numbers that count: those of the program, or an operator's. `next_end` is when
    the first lease of those that are running ends. `claimed_at` is when the last claim was made.
    """

    limit: Limit
    now: float
    running: int
    next_end: float | None
    tat: float
    claimed_at: float | None

    @property
    def burst(self) -> int:
        """How many may begin at the same moment, after a pause."""
        return max(1, (self.limit.per_minute or 0) // 12)

    @property
    def interval(self) -> float:
        """The seconds between two that begin, when the burst is used up."""
        rate = (self.limit.per_minute or 0) + 1 - self.burst
        return ceil(MINUTE / rate * GRID) / GRID

    @property
    def ahead(self) -> float:
        """For how many seconds the claims so far are enough. A clock that went back is no debt."""
        return min(max(0.0, self.tat - self.now), self.burst * self.interval)

    @property
    def permits(self) -> float:
        """How many more may begin now; infinity if only a number is missing that would say it."""
        at_once, per_minute = self.limit.at_once, self.limit.per_minute
        free = float("inf") if at_once is None else max(0, at_once - self.running)
        if per_minute is not None:
            free = min(free, (self.burst * self.interval - self.ahead) // self.interval)
        return free

    def after(self, claims: int) -> float:
        """Return the `tat` after so many more claims."""
        if self.limit.per_minute is None:
            return self.tat
        return self.now + self.ahead + claims * self.interval

    @property
    def permit_at(self) -> float:
        """When the next one may begin, if no one ends before its lease does; else since when."""
        times = [0.0]
        at_once, per_minute = self.limit.at_once, self.limit.per_minute
        if at_once is not None and self.running >= at_once:
            times.append(self.next_end or self.now)
        if per_minute is not None:
            used_until = min(self.tat, self.now + self.ahead)
            times.append(used_until - (self.burst - 1) * self.interval)
        return max(times)

    def __str__(self) -> str:
        words = []
        if (at_once := self.limit.at_once) is not None:
            words.append(f"{self.running} of {at_once} running")
        if (per_minute := self.limit.per_minute) is not None:
            left = (self.burst * self.interval - self.ahead) // self.interval
            words.append(f"{left:.0f} may begin now, of {per_minute} a minute")
        return "; ".join(words)


def claimed_together(handlers: Collection[str], limits: Limits) -> Sequence[Sequence[str]]:
    """Return these handlers in the groups that one claim is for.

    One is of those without a limit, and each other one of those that share a limit.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for handler in handlers:
        groups[limits[handler].name if handler in limits else ""].append(handler)
    return [groups[name] for name in sorted(groups)]  # the one without comes first
