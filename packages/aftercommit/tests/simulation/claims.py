"""What the engine promises about claims, checked together with all else: see `ledger.py`.

Only its owner writes about a claim, or an operator. No handler begins without one, and by one claim
no effect begins twice. It begins with enough time, and ends before its lease does. What the history
says of its end is so. And anyone who lives, and is left in peace, ends each claim that it has, and
does not wait until the lease is over.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from aftercommit import Outcome
from aftercommit_tests.inside.claims import Claim as Delivery

from simulation.rows import Row
from simulation.world import Process

if TYPE_CHECKING:
    from simulation.ledger import Ledger

LATENCY = 0.01  # of worlds in which a moment is short
LAST_WRITE = 0.5  # seconds at the end of a lease in which no handler runs
ENOUGH = 5.0  # seconds before a lease ends in which its claim can be ended
PAUSE_OF_CONFLICT = 2.0  # seconds, with a moment: then there is no time for another try
A_MOMENT = 1.0  # seconds between what a process decides and what the database says
GIVEN_UP = ("ConcurrentUpdate", "ConnectionLost", "CommitOutcomeUnknown", "HandlerTimeout")
KEPT = 10  # ends of a delivery's claims in the history, of each kind
TAKEN = ("superseded", "lease_expired")  # ends of claims that somebody else says
EXACTLY = 1e-3  # seconds: dates of SQLite are as exact as that

Claim = tuple[str, int]
"""The key of a delivery, and a token."""


@dataclass(slots=True)
class Held:
    """A claim that somebody has: since when, and until when by the database's clock."""

    owner: str
    since: float
    until: float


class Claims:
    """Knows who has claimed what, since when, and what its handler has done."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger, self._world, self._faults = ledger, ledger.world, ledger.faults
        self._held: dict[Claim, Held] = {}
        self._running: dict[object, Claim] = {}  # by tasks: one process may run a delivery twice
        self._begun, self._acted = set[Claim](), set[Claim]()
        self._returned: dict[Claim, float] = {}
        self._ended: dict[Claim, str] = {}

    # when a handler runs

    def begins(self, process: Process, row: Row) -> None:
        """Check that a handler has the time it may take before its lease ends."""
        claim, name = self._claim_of(process, row), self._ledger.name(row.key)
        held, is_transactional = self._held[claim], self._ledger.is_transactional(row.handler)
        if self._world.now > held.since + self._ledger.lease:
            self._world.fail(f"{name} begins after the lease of {process} is over")
        if claim in self._running.values():
            self._world.fail(f"{name} begins, and {process} runs it already")
        if claim in self._begun and not is_transactional:
            self._world.fail(f"{name} begins a second time, and {process} has one claim on it")
        self._running[asyncio.current_task()] = claim
        self._begun.add(claim)
        if claim != (row.key, row.token):
            return  # somebody has taken it away, which it does not know yet
        self._check_repetition(process, row)
        left = held.until - self._world.wall_clock
        least = 0.0 if is_transactional else self._ledger.handler_timeout
        if left < least and self._faults.clock_is_steady(held.since):
            self._world.fail(f"{name} begins {left:.1f} s before its lease ends")

    def _claim_of(self, process: Process, row: Row) -> Claim:
        """Return the claim by which a process begins: one that it has, as far as it can know.

        Somebody may have taken it away. What a process has ended itself, it does not begin again.
        """
        its = [
            (row.key, token)
            for token in range(row.token + 1)
            if (held := self._held.get((row.key, token))) and held.owner == process.name
        ]
        its = [each for each in its if self._ended.get(each, TAKEN[0]) in TAKEN]
        if not its:
            self._world.fail(f"{self._ledger.name(row.key)} begins, and {process} has no claim")
        return ([each for each in its if each not in self._begun] or its)[-1]

    def _check_repetition(self, process: Process, row: Row) -> None:
        """Check that a worker does not repeat an effect of which it knows that it has happened.

        It may not have been able to store that in its lease; then it has to before it claims again,
        unless the claim has stood in line meanwhile, or the clock of the database has jumped: that
        ends leases of which their processes know nothing. A reply is repeated if it could not be
        stored.
        """
        before = row.key, row.token - 1
        held, returned_at = self._held.get(before), self._returned.get(before)
        if returned_at is None or held is None or self._ledger.is_in_database(row.handler):
            return
        held_up = max(process.frozen_until, process.waited_at)
        is_steady = self._faults.clock_is_steady(held.since)
        if held.owner == process.name and held_up < returned_at - A_MOMENT and is_steady:
            self._world.fail(f"{process} repeats {self._ledger.name(row.key)}, which had returned")

    @property
    def running(self) -> Sequence[str]:
        """The keys of deliveries whose handlers run."""
        return [key for key, _ in self._running.values()]

    def waits(self, row: Row) -> bool:
        """Tell whether a delivery is claimed, and its handler has not begun."""
        return row.owner is not None and (row.key, row.token) not in self._begun

    def acts(self) -> None:
        """Note an external effect."""
        if claim := self._running.get(asyncio.current_task()):
            self._acted.add(claim)

    def ends(self, process: Process, key: str, *, has_returned: bool) -> None:
        """Check that a handler has not gone on after its lease."""
        claim = self._running.pop(asyncio.current_task(), None)
        held = self._held.get(claim or ("", 0))
        if claim is None or held is None:
            return
        if has_returned:
            self._returned[claim] = self._world.now
        late = self._world.wall_clock - held.until
        is_undisturbed = (
            self._faults.clock_is_steady(held.since) and process.frozen_until < held.since
        )
        latest = -LAST_WRITE if self._world.latency < LATENCY else 0.0
        if late > latest and is_undisturbed:
            self._world.fail(f"{self._ledger.name(key)} ends {-late:.1f} s before its lease")

    def finished(self, outcome: Outcome) -> None:
        """Check that what observers are told of a claim is so."""
        if not isinstance(work := outcome.work, Delivery):
            return
        key, token = str(work.idempotency_key), work.token
        end, name = self._ended.get((key, token)), self._ledger.name(key)
        if outcome.status == "succeeded" and end != "done":
            self._world.fail(f"{name} is reported as done, and is {end or 'not'}")
        # of a transaction whose COMMIT was not answered, that it is done is not known
        is_known = not self._ledger.is_in_database(work.handler)
        # nor of what was decided about since then: a replay lets it be done again
        is_known &= (row := self._ledger.rows.get(key)) is not None and row.token == token
        if outcome.status == "lease lost" and end == "done" and is_known:
            self._world.fail(f"{name} is reported as lost, and this claim has done it")

    # after each COMMIT

    def changes(self, by: Process | None, before: Row | None, row: Row) -> None:
        """Check what a commit says about a claim."""
        if row.attempts < 0:
            self._world.fail(f"{self._ledger.name(row.key)} has had {row.attempts} attempts")
        if before and before.owner and before.is_open:
            self._check_writer(by, before, row)
            self._check_end(by, before, row)
        if row.is_done_since(before):
            self._check_done(by, row)
        if row.owner and row.is_open and (row.key, row.token) not in self._held:
            owner, now = row.owner.split("@")[0], self._world.now
            self._held[row.key, row.token] = held = Held(owner, now, row.due or inf)
            left = held.until - self._world.wall_clock
            if left > self._ledger.lease + EXACTLY and self._faults.clock_is_steady(now):
                name = self._ledger.name(row.key)
                self._world.fail(f"the lease of {owner} on {name} ends in {left:.1f} s")

    def ended(self, claim: Claim, outcome: str, error: str) -> None:
        """Check that what the history says of the end of a claim is so."""
        name, held = self._ledger.name(claim[0]), self._held.get(claim)
        if outcome == "failed" and self._ended.get(claim) == "done":
            self._world.fail(f"{name} is said to have failed, and was done")
        self._ended[claim] = outcome
        had = self._ledger.handler_timeout - PAUSE_OF_CONFLICT
        if error.startswith("ConcurrentUpdate") and held and self._world.now - held.since < had:
            self._world.fail(f"{name} has failed by a conflict, and had time left")
        is_effect = not self._ledger.is_transactional(claim[0][37:])
        if outcome in ("released", "interrupted") and claim in self._returned and is_effect:
            self._world.fail(f"{name} had returned, and is {outcome}")
        if outcome == "released" and claim in self._acted:
            self._world.fail(f"{name} is said to be released before its effect, and had it before")
        # of an external effect that has happened; a transaction that fails has had none
        is_known = claim in self._returned and not self._ledger.is_in_database(claim[0][37:])
        is_given_up = is_known or "had returned" in error
        is_given_up &= outcome == "failed" and error.startswith(GIVEN_UP)
        owner = held and self._owner_of(held)
        if is_given_up and held and owner and owner.frozen_until < held.since - A_MOMENT:
            left = held.until - self._world.wall_clock
            if left > 3 * A_MOMENT and self._faults.clock_is_steady(held.since):
                self._world.fail(
                    f"what {name} has done is given up {left:.1f} s before its lease ends"
                )

    def _check_writer(self, by: Process | None, before: Row, row: Row) -> None:
        """Check that nobody writes about the claim of somebody else, unless that is over."""
        owner, name = (before.owner or "").split("@")[0], self._ledger.name(row.key)
        is_taken = self._ended.get((before.key, before.token)) in TAKEN  # by an operator
        if by is None or by.name == owner or is_taken:
            return
        is_claim = row.token > before.token and (row.owner or row.parked_at is not None)
        if not is_claim and (row.owner, row.due, row.parked_at) != (
            before.owner,
            before.due,
            before.parked_at,
        ):
            self._world.fail(f"{by} writes about {name}, which {owner} has claimed")

    def _check_done(self, by: Process | None, row: Row) -> None:
        """Check that a claim has done it, and one that had not ended before.

        What its process could not store in the lease of one claim, it stores by its next one.
        """
        name, claim = self._ledger.name(row.key), (row.key, row.token)
        if claim not in self._held and by:
            self._world.fail(f"{name} is done, and nobody had claimed it")
        returned = {claim}
        held, before = self._held.get(claim), self._held.get((row.key, row.token - 1))
        if held and before and held.owner == before.owner:
            returned.add((row.key, row.token - 1))
        # what happens instead of a handler tells the ledger when it begins, and no more
        if returned.isdisjoint(self._returned) and not row.given_up:
            self._world.fail(f"{name} is done, and the handler of this claim has not returned")
        # what was done, and was not stored in its lease, is a failure until that is made up for
        if (end := self._ended.get(claim, "failed")) != "failed":
            self._world.fail(f"{name} is done by a claim that was {end} before")
        self._ended[claim] = "done"

    def _check_end(self, by: Process | None, before: Row, row: Row) -> None:
        """Check that an end has the consequences that it has to have."""
        name, is_over = self._ledger.name(row.key), row.token > before.token
        if is_over and (
            row.owner or row.parked_at is not None
        ):  # by a claim: the lease had expired
            self._check_expired(before, row)
        if row.owner or not row.is_open:
            return
        if is_over or row.parked_at is not None:
            return
        if row.attempts >= self._ledger.max_attempts:
            self._world.fail(f"{name} has failed {row.attempts} times, and is not parked")
        if row.given_up:  # what its handler has said is kept; and what happens instead begins anew
            return
        if row.can_never_succeed:
            self._world.fail(f"{name} can never succeed, and is tried again")
        is_quick = by is not None and by.frozen_until < self._world.now - A_MOMENT
        is_quick &= self._world.latency < LATENCY
        is_quick &= self._faults.clock_is_steady(self._world.now)
        if is_quick and row.due is not None and row.due < self._world.wall_clock:
            self._world.fail(f"{name} has failed, and is tried again at once")

    def _check_expired(self, before: Row, row: Row) -> None:
        """Check that a process that lives, and was left in peace, has not let a lease expire."""
        held = self._held.get((before.key, before.token))
        if held is None or (owner := self._owner_of(held)) is None:
            return
        faults, since = self._faults, held.since - A_MOMENT
        lease_end = self._world.now - (self._world.wall_clock - held.until)
        disturbed = max(owner.waited_at, owner.frozen_until, owner.occupied_until)
        disturbed = max(disturbed, faults.outage_until)
        # anyone who has not heard of its claim knows nothing of it: its connection was lost, or it
        # was frozen for so long that it has given up the call which made the claim when it went on
        is_known = max(owner.broken_at, owner.frozen_until) < since
        is_known |= (before.key, before.token) in self._returned
        # for a client that has gone, a process tries for two seconds only to store what it knows
        is_known &= owner.deserted_at < held.since
        is_quick = self._world.latency < LATENCY  # else what has waited is stored one by one
        enough = ENOUGH if is_quick else self._ledger.lease
        is_left_in_peace = disturbed < lease_end - enough and self._faults.clock_is_steady(since)
        if is_known and is_left_in_peace and owner.is_up:
            name = self._ledger.name(row.key)
            self._world.fail(f"{owner} lives, and has let its claim on {name} expire")

    def _owner_of(self, held: Held) -> Process | None:
        """Return the process that has a claim, if it lives."""
        return next((each for each in self._world.processes if each.name == held.owner), None)

    # at the end

    def check_history(self) -> None:
        """Check that each claim that has not done its work has its end in the history."""
        kept = Counter((key, outcome) for (key, _), outcome in self._ended.items())
        full = {key for (key, _), count in kept.items() if count >= KEPT}
        for key, token in sorted(self._held.keys() - self._ended.keys()):
            if key in self._ledger.rows and key not in full:
                name = self._ledger.name(key)
                self._world.fail(f"claim {token} of {name} has no end in the history")
