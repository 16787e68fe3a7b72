"""How many deliveries of a handler may run at once, and begin per minute. Pure: no I/O.

The rate is a leaky bucket in the form of ATM's generic cell rate algorithm (GCRA, ITU-T I.371),
which stores only one time, the `tat`: until then, the claims so far are spread out. `burst` claims
may be ahead of it. Windows are half-open: no 60 seconds by the database's clock, with one of their
two ends, have more claims than `per_minute`.
"""

import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType

MINUTE = 60.0
GRID = 2.0**20
"""Intervals are whole fractions of a second, so that sums of them and of epoch times are exact."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit shared by handlers with one `name`. A number that is None limits nothing."""

    name: str
    at_once: int | None = None
    per_minute: int | None = None


Limits = Mapping[str, Limit]
"""By all names of the handlers that have a limit."""
NO_LIMITS: Limits = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """How much of a limit is used `now`, by the database's clock, like all times here.

    `limit` has the numbers in force: the program's, or an operator's. `next_end` is the end of the
    first lease of a running delivery. `claimed_at` is the time of the last claim.
    """

    limit: Limit
    now: float
    running: int
    next_end: float | None
    tat: float
    claimed_at: float | None

    @property
    def burst(self) -> int:
        """How many may begin at the same time, after a pause."""
        return max(1, (self.limit.per_minute or 0) // 12)

    @property
    def interval(self) -> float:
        """The seconds between two begins, when the burst is used up."""
        rate = (self.limit.per_minute or 0) + 1 - self.burst
        return ceil(MINUTE / rate * GRID) / GRID

    @property
    def ahead(self) -> float:
        """For how many seconds the claims so far suffice. A clock set back causes no debt."""
        return min(max(0.0, self.tat - self.now), self.burst * self.interval)

    @property
    def permits(self) -> float:
        """How many more may begin now; infinity if neither number is a limit."""
        at_once, per_minute = self.limit.at_once, self.limit.per_minute
        free = float("inf") if at_once is None else max(0, at_once - self.running)
        if per_minute is not None:
            free = min(free, (self.burst * self.interval - self.ahead) // self.interval)
        return free

    def after(self, claims: int) -> float:
        """Return the `tat` after this many more claims."""
        if self.limit.per_minute is None:
            return self.tat
        return self.now + self.ahead + claims * self.interval

    @property
    def permit_at(self) -> float:
        """When the next one may begin, if no other ends before its lease; or since when it may."""
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


def claimed_together(
    handlers: Collection[str], limits: Limits, *, most: int = sys.maxsize
) -> Sequence[Sequence[str]]:
    """Group handlers so that each claim is for one group, of `most` handlers at most.

    The handlers without a limit are one group, and those that share a limit are one each.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for handler in handlers:
        groups[limits[handler].name if handler in limits else ""].append(handler)
    together = [groups[name] for name in sorted(groups)]  # the one without a limit comes first
    return [each[at : at + most] for each in together for at in range(0, len(each), most)]
