"""What has to be so after each COMMIT, whatever operators decide; a part of `ledger.py`.

What is held is paused. What is pruned was done, and a command goes after its events. What was
discarded stays so. A delivery is in the lane of its key, by whatever name its handler is known, is
there once, and is due when it has to be.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from simulation.rows import Row

if TYPE_CHECKING:
    from simulation.ledger import Ledger

A_MOMENT = 1.0  # seconds between two statements of a transaction, at most
COMMANDS = "SELECT id, correlation_id FROM aftercommit_commands"
TRACES = "SELECT DISTINCT correlation_id FROM aftercommit_events"
RECORDED = "SELECT recorded_at FROM aftercommit_events WHERE id = '{}'"

Query = Callable[[str], Sequence[Any]]
Rows = Mapping[str, Row]


class Stored:
    """Compares what is stored with what was stored before."""

    def __init__(
        self,
        ledger: "Ledger",
        query: Query,
        *,
        lane_of: Callable[[str, str], str | None],
        names: Mapping[str, str],
        delays: Mapping[str, float],
    ) -> None:
        self._ledger, self._query, self._fail = ledger, query, ledger.world.fail
        self._lane_of, self._names, self._delays = lane_of, names, delays
        self._commands: Mapping[Any, Any] = {}
        self._recorded: Mapping[UUID, float] = {}  # events that were there before

    def check(self, before: Rows, rows: Rows) -> None:
        """Check what a commit has changed."""
        for row in rows.values():
            if row.is_open and row.is_held and row.handler not in self._ledger.paused:
                self._fail(f"{self._name(row)} is held, and its handler is not paused")
        for key, row in before.items():
            if key not in rows:
                self._check_gone(row)
            elif key in rows and row.discarded_at is not None and rows[key].is_open:
                self._fail(f"{self._name(row)} was discarded, and is to be done again")
        for key in rows.keys() - before.keys():
            self._check_new(rows[key], rows)
        if self._ledger.has_pruned:
            self._check_commands()
        self._recorded = self._ledger.stored_events

    def _check_gone(self, row: Row) -> None:
        """Check that what is pruned was done, goes with its event, and is old enough."""
        least, recorded_at = self._ledger.prunes_after, self._recorded.get(row.event_id)
        if least is None:
            self._fail(f"{self._name(row)} is gone, and nobody has pruned anything")
        if row.is_open:
            self._fail(f"{self._name(row)} is pruned, and was not done")
        if row.event_id in self._ledger.stored_events:
            self._fail(f"{self._name(row)} is pruned, and its event is not")
        age = self._ledger.world.wall_clock - (recorded_at or 0.0)
        if age < least and self._ledger.faults.clock_is_steady(self._ledger.world.now):
            self._fail(f"{self._name(row)} is pruned after {age:.1f} s, and not after {least:.1f}")

    def _name(self, row: Row) -> str:
        return self._ledger.name(row.key)

    def _check_new(self, row: Row, rows: Rows) -> None:
        name, (_, subject) = self._name(row), self._ledger.events[row.event_id]
        lane = self._lane_of(row.handler, subject)
        if row.lane != lane and subject not in self._ledger.erased:
            self._fail(f"{name} is in the lane {row.lane}, and not in {lane}")
        if (other := self._names.get(row.handler)) and f"{row.event_id}:{other}" in rows:
            self._fail(f"{name} is there a second time, as {other}")
        if (delay := self._delays.get(row.handler)) and not row.replay and row.due is not None:
            this = RECORDED.format(row.event_id.hex)
            [(recorded_at,)] = self._query(this)
            is_steady = self._ledger.faults.clock_is_steady(self._ledger.world.now)
            if row.due - recorded_at < delay - A_MOMENT and is_steady:
                self._fail(f"{name} is due {row.due - recorded_at:.1f} s after its event")

    def _check_commands(self) -> None:
        """Check that commands go after the events of their traces."""
        commands = {UUID(str(each)): trace for each, trace in self._query(COMMANDS)}
        if lost := self._commands.keys() - commands.keys():
            traces = {trace for (trace,) in self._query(TRACES)}
            if any(self._commands[each] in traces for each in lost):
                self._fail("a command is pruned before its events")
        self._commands = commands
