"""What limits promise, checked after each COMMIT; a part of `ledger.py`.

No more run at once than a limit says, of those whose leases have not ended; and no half-open minute
of the clock of the database has more claims. The time of a claim is that of its lease.
"""

from bisect import bisect_right, insort
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from simulation.rows import PAUSED, Row

if TYPE_CHECKING:
    from simulation.ledger import Ledger

MINUTE = 60.0
CLOCK_SETTLES = 60.0  # seconds after a jump until no lease has another end because of it


class Limits:
    """Watches the handlers that share the one limit of the shop."""

    def __init__(
        self, ledger: "Ledger", handlers: Collection[str], at_once: int, per_minute: int
    ) -> None:
        self._ledger, self._handlers = ledger, handlers
        self._at_once, self._per_minute = at_once, per_minute
        self._claimed_at = list[float]()  # in order

    def changes(self, before: Row | None, row: Row) -> None:
        """Note a claim."""
        is_claimed = row.handler in self._handlers and row.owner and row.is_open
        if not is_claimed or row.due is None or (before and before.token == row.token):
            return
        world, faults = self._ledger.world, self._ledger.faults
        if not faults.clock_is_steady(world.now):
            self._claimed_at.clear()
            return
        insort(self._claimed_at, claimed_at := row.due - self._ledger.lease)
        for end, time in enumerate(self._claimed_at, 1):
            if claimed_at <= time < claimed_at + MINUTE:
                number = end - bisect_right(self._claimed_at, time - MINUTE)
                if self._per_minute and number > self._per_minute:
                    world.fail(f"{number} claims of {self._per_minute} a minute")

    def check(self, rows: Iterable[Row]) -> None:
        """Check how many run."""
        world = self._ledger.world
        if self._ledger.faults.jumped_at > world.now - CLOCK_SETTLES:
            return
        running = [
            self._ledger.name(row.key)
            for row in rows
            if row.handler in self._handlers and row.owner and row.is_open
            if row.parked_at is None and world.wall_clock < (row.due or 0.0) < PAUSED
        ]
        if len(running) > self._at_once:
            world.fail(f"{len(running)} of {self._at_once} run at once: {', '.join(running)}")
