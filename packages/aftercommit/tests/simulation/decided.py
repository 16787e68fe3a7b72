"""What operators have decided, and what has to follow from that; a part of `ledger.py`.

A decision is stored with what it changes, so both are seen after the same COMMIT. What is retried
begins again, what is discarded is over, and nothing that runs knows what is erased. A replay has
made a delivery of each past event, and does again what it was to do again, and nothing else.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aftercommit_tests.inside.operations import Replay

from simulation.rows import Row, caller, number_of

if TYPE_CHECKING:
    from simulation.ledger import Ledger

DECISIONS = """SELECT id, decision, event_id, handler FROM aftercommit_decisions
WHERE event_id IS NOT NULL"""
SAID = "SELECT id, subject, data FROM aftercommit_events"
PERSONAL = re.compile(r"customer \d")  # what an erasure takes out of the data of events

QUOTED = """SELECT event_id, last_error FROM aftercommit_deliveries WHERE last_error IS NOT NULL
UNION ALL SELECT event_id, error FROM aftercommit_failures"""
MENTIONS = """SELECT id, reason FROM aftercommit_decisions
UNION ALL SELECT id, decided_by FROM aftercommit_decisions
UNION ALL SELECT NULL, source FROM aftercommit_commands
UNION ALL SELECT NULL, message_id FROM aftercommit_commands"""
SUMS = """SELECT event.id FROM aftercommit_events AS event JOIN aftercommit_commands AS command
ON command.id = event.causation_id WHERE command.fingerprint IS NOT NULL"""

Query = Callable[[str], Sequence[Any]]
Rows = Mapping[str, Row]


class Decided:
    """Knows what operators have decided, and compares that with what is stored."""

    def __init__(self, ledger: "Ledger", query: Query) -> None:
        self._ledger, self._query, self._fail = ledger, query, ledger.world.fail
        self._seen = set[UUID]()
        self._discards = dict[str, Collection[str]]()  # handlers, by what is to be erased
        self._erased = set[str]()  # what is erased
        self._uncovered = set[UUID]()  # events about it that no erasure has seen
        self._again = set[str]()  # handlers that are to do again what they have done
        self.retried = set[str]()  # deliveries, by the last commit

    def erases(self, subject: str, discards: Collection[str]) -> None:
        """Note that an operator is about to erase an order, and what is not to be done then."""
        self._discards[subject] = discards

    def replays_again(self, names: Collection[str]) -> None:
        """Note that an operator is about to let a handler do again what it has done."""
        self._again.update(names)

    def check(self, before: Rows, rows: Rows, new_events: Collection[UUID]) -> None:
        """Check what a commit has changed by a decision, and that nothing else has."""
        known = self._seen.copy()
        new = self._read()
        self.retried = {f"{event_id}:{handler}" for event_id, handler in new["retry"]}
        for key in sorted(self.retried & rows.keys()):
            self._check_retried(before.get(key), rows[key])
        discarded = {f"{event_id}:{handler}" for event_id, handler in new["discard"]}
        for key in sorted(discarded & rows.keys()):
            if rows[key].discarded_at is None:
                self._fail(f"{self._name(rows[key])} was to be discarded, and is not")
        erased = {event_id for event_id, _ in new["erase"]}
        for key in before.keys() & rows.keys():
            is_decided = key in discarded or rows[key].event_id in erased
            self._check_end(before[key], rows[key], is_decided=is_decided)
        if erased:
            self._check_erased(rows, erased)
            self._check_mentions(erased, known)
        if self._erased and (erased or new_events):
            self._check_said()
        if self._erased:
            self._check_quoted()

    def _read(self) -> Mapping[str, Collection[tuple[UUID, str | None]]]:
        """Return what was not stored before, by what was decided: about which handler or event."""
        new: dict[str, list[tuple[UUID, str | None]]] = defaultdict(list)
        for each, what, event_id, handler in self._query(DECISIONS):
            if (this := UUID(str(each))) not in self._seen:
                self._seen.add(this)
                new[what].append((UUID(str(event_id)), handler))
        return new

    def _check_end(self, before: Row, row: Row, *, is_decided: bool) -> None:
        """Check that nothing is discarded, and nothing done is open again, by itself."""
        if row.discarded_at is not None and before.discarded_at is None and not is_decided:
            self._fail(f"{self._name(row)} is discarded, and nobody has decided that")
        if row.discarded_at is not None and before.discarded_at is None and not before.is_open:
            self._fail(f"{self._name(row)} is discarded, and was done")
        if row.is_open and not before.is_open and row.handler not in self._again:
            self._fail(f"{self._name(row)} was done, and is not")

    def _check_retried(self, before: Row | None, row: Row) -> None:
        is_new = row.is_open and row.owner is None and row.parked_at is None and not row.attempts
        if not is_new or (before and row.token <= before.token):
            self._fail(f"{self._name(row)} is retried, and does not begin anew")

    def _check_erased(self, rows: Rows, erased: Collection[UUID]) -> None:
        subjects = {self._ledger.events[each][1] for each in erased}
        self._erased |= subjects
        for each, (_, subject) in self._ledger.events.items():
            if subject in subjects and each not in erased:
                self._uncovered.add(each)
        for row in (each for each in rows.values() if each.event_id in erased and each.is_open):
            if row.owner:
                self._fail(f"{self._name(row)} runs, and knows what is erased")
            _, subject = self._ledger.events[row.event_id]
            if row.handler in self._discards.get(subject, ()):
                self._fail(f"{self._name(row)} is to have an effect, and its order is erased")

    def _check_mentions(self, erased: Collection[UUID], known: Collection[UUID]) -> None:
        """Check that no id of a message and no decision says who was erased.

        A decision that was committed since then may: whoever made it did not know.
        """
        numbers = {number_of(self._ledger.events[each][1])[0] for each in erased}
        names = [re.compile(rf"{caller(number)}\b") for number in numbers]
        for decision, text in self._query(MENTIONS):
            is_there = decision is None or UUID(str(decision)) in known
            if is_there and any(name.search(text or "") for name in names):
                self._fail(f"an erasure has left who was erased: {text}")

    def _check_said(self) -> None:
        """Check that no event says what is erased, also of those that come later."""
        for event_id, subject, data in self._query(SAID):
            this = UUID(str(event_id))
            if subject in self._erased and this not in self._uncovered and PERSONAL.search(data):
                self._fail(f"an event about order {UUID(subject).int} says what is erased")

    def _check_quoted(self) -> None:
        """Check that no error of a handler quotes what is erased, and that no sum is made of it."""
        for event_id, error in self._query(QUOTED):
            if self._is_erased(event_id) and PERSONAL.search(error):
                self._fail(f"what is erased is in the error of a handler: {error}")
        if any(self._is_erased(event_id) for (event_id,) in self._query(SUMS)):
            self._fail("what is erased is in the fingerprint of a command")

    def _is_erased(self, event_id: object) -> bool:
        """Tell whether an event is about what is erased, and was there when it was."""
        this = UUID(str(event_id))
        _, subject = self._ledger.events.get(this, ("", ""))
        return subject in self._erased and this not in self._uncovered

    def _name(self, row: Row) -> str:
        return self._ledger.name(row.key)

    # replays

    def check_replay(self, replay: Replay, past: Mapping[UUID, float], begun: float) -> None:
        """Check that a replay that has ended has left out none of the events that were there."""
        is_steady = self._ledger.faults.jumped_at < begun
        there = self._ledger.stored_events
        for event_id in (each for each in past if each in there):
            type_, _ = self._ledger.events[event_id]
            if type_ not in replay.event_types or past[event_id] > replay.until:
                continue
            found = (self._ledger.rows.get(f"{event_id}:{name}") for name in replay.aliases)
            its = [each for each in found if each]
            name = self._ledger.name(f"{event_id}:{replay.handler}")
            if not its:
                self._fail(f"{name} is left out by a replay")
            is_left = [
                each.discarded_at is None
                and each.given_up is None
                and (each.completed_at or replay.until) < replay.until
                for each in its
            ]
            if replay.again and any(is_left) and is_steady:
                self._fail(f"{name} is not done again by a replay")
