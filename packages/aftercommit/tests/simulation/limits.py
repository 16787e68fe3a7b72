"""What limits promise, checked after each COMMIT; a part of `ledger.py`.

When something is claimed by a limit, no more run at once than it says, of those whose leases have
not ended; and no half-open minute of the clock of the database has more claims. The time of a claim
is that of its lease. The numbers are those of the program, or of an operator. What is claimed has
the name of the limit by which it was, and of no other: it would take a place of that.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from simulation.rows import PAUSED, Row

if TYPE_CHECKING:
    from simulation.ledger import Ledger
    from simulation.world import Process

NUMBERS = "SELECT at_once, per_minute FROM aftercommit_limits WHERE name = 'cards'"
MINUTE = 60.0
CLOCK_SETTLES = 60.0  # seconds after a jump until no lease has another end because of it


class Limits:
    """Watches the handlers that share the one limit of the shop."""

    def __init__(
        self,
        ledger: "Ledger",
        query: Callable[[str], Sequence[Any]],
        handlers: Sequence[Collection[str]],
        at_once: int,
        per_minute: int,
    ) -> None:
        self._ledger, self._query = ledger, query
        self._handlers = handlers  # that have a limit, in each version of the shop
        self._numbers = self._of_program = at_once, per_minute
        self._claimed_at = list[float]()  # in order
        self._is_claimed = False

    def changes(self, by: "Process | None", before: Row | None, row: Row) -> None:
        """Note a claim, and check by which limit it was."""
        if not (row.owner and row.is_open) or (before and before.token == row.token):
            return
        self._check_name(getattr(by, "version", 0), row)
        if row.limit_name is None or row.due is None:
            return
        self._is_claimed = True
        world, faults = self._ledger.world, self._ledger.faults
        if not faults.clock_is_steady(world.now):
            self._claimed_at.clear()
            return
        insort(self._claimed_at, claimed_at := row.due - self._ledger.lease)
        for end, time in enumerate(self._claimed_at, 1):
            if claimed_at <= time < claimed_at + MINUTE:
                number = end - bisect_right(self._claimed_at, time - MINUTE)
                if (per_minute := self._numbers[1]) and number > per_minute:
                    world.fail(f"{number} claims of {per_minute} a minute")

    def _check_name(self, version: int, row: Row) -> None:
        name = "cards" if version and row.handler in self._handlers[version - 1] else None
        if version and row.limit_name != name:
            told = f"by the limit {row.limit_name}, and not {name}"
            self._ledger.world.fail(f"{self._ledger.name(row.key)} is claimed {told}")

    def check(self, rows: Iterable[Row]) -> None:
        """Check how many run, if something was claimed by the limit."""
        world = self._ledger.world
        for at_once, per_minute in self._query(NUMBERS):  # an operator's, perhaps
            own = self._of_program
            numbers = at_once or own[0], per_minute or own[1]
            if numbers != self._numbers:
                self._claimed_at.clear()
            self._numbers = numbers
        is_claimed, self._is_claimed = self._is_claimed, False
        if not is_claimed:
            return
        if self._ledger.faults.jumped_at > world.now - CLOCK_SETTLES:
            return
        running = [
            self._ledger.name(row.key)
            for row in rows
            if row.limit_name and row.owner and row.is_open
            if row.parked_at is None and world.wall_clock < (row.due or 0.0) < PAUSED
        ]
        if len(running) > self._numbers[0]:
            world.fail(f"{len(running)} of {self._numbers[0]} run at once: {', '.join(running)}")
