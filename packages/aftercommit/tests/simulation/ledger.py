"""What the engine promises, checked against what the database says and what handlers do.

After each COMMIT: tokens, leases, attempts, exactly once, lanes, decisions of operators, and that
nothing is there of what was rolled back, nor missing of what was not. When a handler begins: its
claim, pauses, order, and its key. At the end: nothing is lost, and each claim has an end in the
history. `docs/guarantees.md` says it in words.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from aftercommit import Envelope, GivenUp, Outcome

from simulation.claims import Claims
from simulation.decided import Decided
from simulation.faults import Faults
from simulation.limits import Limits
from simulation.rows import PAUSED, Row, number_of
from simulation.steps import POSSIBLE, state_of
from simulation.stored import Stored
from simulation.world import Process, World, this_process

if TYPE_CHECKING:
    from simulation.broker import Messages

PAUSE_IS_KNOWN = 1.5  # seconds after which a pause counts, with time for a transaction to begin
WAYS = 20  # to the database and back, in that time
PATIENCE = 12.0  # seconds after which `settle` is given up
LANE_IS_PASSED = 20.0  # seconds until its first is unblocked, by who has passed the lane by
LANE_IS_LEFT = 90.0  # the same if that process has died: a worker looks once a minute

DELIVERIES = """SELECT event_id, handler, attempts, token, available_at, owner, parked_at,
completed_at, discarded_at, lane, position, blocked, replay, last_error, limit_name, given_up
FROM aftercommit_deliveries ORDER BY position, event_id, handler"""
EVENTS = "SELECT id, type, subject, recorded_at FROM aftercommit_events"
ENDS = "SELECT event_id, handler, token, outcome, error FROM aftercommit_failures"
# errors of resources: such an attempt does not count
UNAVAILABLE = (
    *("Unavailable", "ConnectionLost", "CommitOutcomeUnknown"),
    *("DatabaseUnavailable", "DatabaseLocked", "DeliveryLocked"),
)


class Reader(Protocol):
    """Reads what is committed."""

    has_lane_locks: bool
    """Whether a lane may be passed by, since somebody has locked it; its first is blocked then."""
    shows_each_commit: bool
    """Whether what is read is what was committed last, and nothing that was committed since."""

    def has_changed(self) -> bool:
        """Tell whether something was committed since the last time."""

    def query(self, sql: str) -> Sequence[Any]:
        """Return the rows of a query."""


class Ledger:
    """Knows what was acknowledged, what handlers did, and what the database has said since."""

    def __init__(
        self,
        world: World,
        faults: Faults,
        reader: Reader,
        *,
        transactional: Collection[str],
        tables: Sequence[Mapping[str, Collection[str]]],
        max_attempts: int,
        handler_timeout: float,
        lease: float,
        follows: Mapping[str, tuple[str, int]],
        notes: int,
        stored: Callable[["Ledger", Callable[[str], Sequence[Any]]], Stored],
        limits: Callable[["Ledger"], Limits],
        messages: "Messages",
    ) -> None:
        self.handler_timeout, self.lease = handler_timeout, lease
        self._notes = notes  # of an order: events of its commit
        self._follows = follows  # what an effect is stored with: a type of events, and how many
        self.world, self.faults, self._reader = world, faults, reader
        self._transactional, self.max_attempts = transactional, max_attempts
        self._tables = tables  # the handlers of each type of event, in each version of the shop
        self.rows: dict[str, Row] = {}
        self.events: dict[UUID, tuple[str, str]] = {}  # with their types and subjects
        self._event_names: dict[UUID, str] = {}
        self.acknowledged = set[UUID]()  # orders
        self.effects: Counter[str] = Counter()  # in the database, by the keys of their handlers
        self.external: Counter[str] = Counter()  # effects, also by keys
        self.paused: dict[str, float] = {}
        self.erased = set[str]()  # orders, as events are about them
        self.stored_events: dict[UUID, float] = {}  # that are there, and when they were recorded
        self.prunes_after: float | None = None  # seconds, the least that operators have asked for
        self._again: Counter[str] = Counter()  # how often a delivery was to be done once more
        self._external_before: Counter[str] = Counter()  # effects until then
        self._failed: Counter[str] = Counter()  # attempts that count
        self._lost: Counter[str] = Counter()  # claims that ended without a word
        self._without_end = set[str]()  # an operator has retried them, so no time ends them
        self._forgiven: Counter[str] = Counter()  # of both, those before it began again
        self._history = set[tuple[str, int]]()  # what is known of it
        self._last_in_lane: dict[str, int] = defaultdict(int)
        self._headless: dict[str, float] = {}  # lanes whose first is blocked, and since when
        self._seen_effects = set[int]()  # by their numbers
        self.checks = 0
        self._watched_claims, self._stored = Claims(self), stored(self, reader.query)
        self.decided, self._limits = Decided(self, reader.query), limits(self)
        self._messages = messages

    # when a handler runs

    def begins(self, key: str, envelope: Envelope) -> None:
        """Check that a handler may begin."""
        self.world.story.tell(this_process(), f"{self.name(key)} begins")
        if (row := self.rows.get(key)) is None:
            self.world.fail(f"{self.name(key)} begins, and its event was never committed")
        if row.event_id != envelope.id:
            self.world.fail(f"{key} is the key of {envelope.id}")
        if row.lane:
            self._check_order(row)
        if row.given_up and row.owner and this_process().name == row.owner.split("@")[0]:
            self.world.fail(f"{self.name(key)} begins, and was given up")
        self._watched_claims.begins(process := this_process(), row)
        if seconds := self.knows_pause(process, row.handler):
            self.world.fail(f"{self.name(row.key)} begins, and is paused for {seconds:.1f} s")

    def gives_up(self, key: str, failure: GivenUp, envelope: Envelope) -> None:
        """Check that what happens instead of a handler has its reason."""
        self.world.story.tell(this_process(), f"{self.name(key)} is given up: {failure.words}")
        row = self.rows[key]
        if row.given_up is None:
            self.world.fail(f"something happens instead of {self.name(key)}, which may still run")
        recorded = self.stored_events.get(envelope.id, self.world.wall_clock)
        early = recorded + PATIENCE - self.world.wall_clock
        if failure.reason == "too late" and early > 1 and self.faults.clock_is_steady(0.0):
            self.world.fail(f"{self.name(key)} is given up {early:.1f} s before its time is over")

    def knows_pause(self, process: Process, name: str) -> float:
        """Return for how many seconds something is paused, if a process has to know that."""
        since, now = self.paused.get(name), self.world.now
        known = PAUSE_IS_KNOWN + WAYS * self.world.latency
        held_up = max(process.frozen_until, process.waited_at, process.broken_at)
        held_up = max(held_up, self.faults.outage_until)
        is_known = since is not None and now - max(since, held_up) > known
        return now - since if is_known and since is not None else 0.0

    def ends(self, key: str, *, has_returned: bool) -> None:
        """Note that a handler has ended."""
        self._watched_claims.ends(this_process(), key, has_returned=has_returned)

    def finished(self, outcome: Outcome) -> None:
        """Note what observers are told."""
        if self._reader.shows_each_commit:
            self._watched_claims.finished(outcome)

    @property
    def running(self) -> Collection[str]:
        """The handlers that run."""
        return {key[37:] for key in self._watched_claims.running}

    def is_in_database(self, handler: str) -> bool:
        """Tell whether a handler has an effect in the database, perhaps by its reply."""
        return handler in self._transactional

    def waits(self, row: Row) -> bool:
        """Tell whether a delivery is claimed, and its handler has not begun."""
        return self._watched_claims.waits(row)

    def is_transactional(self, handler: str) -> bool:
        """Tell whether a handler has its effect in a transaction."""
        return handler in self._transactional and handler != "ask_bank"

    def raises(self, key: str, error: BaseException) -> None:
        """Note that a handler has failed."""
        self.world.story.tell(this_process(), f"{self.name(key)} raises {type(error).__name__}")

    def acts(self, key: str) -> None:
        """Note an external effect: it stays, whatever happens then."""
        self.world.story.tell(this_process(), f"{self.name(key)} has its external effect")
        self.external[key] += 1
        self._watched_claims.acts()
        if UUID(key[:36]) not in self.events:
            self.world.fail(f"{self.name(key)} has an effect, and its event was rolled back")

    def name(self, key: str) -> str:
        """Return the name of a delivery for people."""
        event_id, _, handler = key.partition(":")
        return f"{handler}({self._event_names.get(UUID(event_id), f'event {event_id}')})"

    @property
    def has_pruned(self) -> bool:
        """Whether an operator has had something pruned."""
        return self.prunes_after is not None

    def prunes(self, *, older_than: float) -> None:
        """Note that an operator lets go what is older than so many seconds."""
        self.prunes_after = min(self.prunes_after or older_than, older_than)

    def _check_order(self, row: Row) -> None:
        for other in self.rows.values():
            is_earlier = other.lane == row.lane and (other.position or 0) < (row.position or 0)
            if is_earlier and other.is_open:
                earlier = self.name(other.key)
                self.world.fail(f"{self.name(row.key)} begins before {earlier} of its lane is done")

    # after each COMMIT

    def look(self, by: Process | None = None) -> None:
        """Check all that the database says."""
        if not self._reader.has_changed():
            return
        self.checks += 1
        new = self._read_events()
        self._read_effects()
        self._check_followed()
        paused = {
            name for (name,) in self._reader.query("SELECT handler FROM aftercommit_handler_pauses")
        }
        self.paused = {name: self.paused.get(name, self.world.now) for name in paused}
        self._read_ends()
        found = (self._row(each) for each in self._reader.query(DELIVERIES))
        rows = {row.key: row for row in found}
        self.decided.check(self.rows, rows, new)
        types = [type_ for type_, _ in self.events.values()]
        self._messages.check(types, forgets=self.has_pruned)
        for key, row in rows.items():
            if (before := self.rows.get(key)) != row:
                self._check_change(before, row)
                self._watched_claims.changes(by, before, row)
                self._limits.changes(by, before, row)
        self._limits.check(rows.values())
        self._stored.check(self.rows, rows)
        self.rows = rows
        self._check_new(new)
        self._check_lanes()

    def _row(self, values: Sequence[Any]) -> Row:
        event_id, *others = values
        return Row(UUID(str(event_id)), *others)

    def _read_events(self) -> Collection[UUID]:
        """Return those that were not there before."""
        new = set[UUID]()
        self.stored_events = {}
        for event_id, type_, subject, recorded_at in self._reader.query(EVENTS):
            self.stored_events[this := UUID(str(event_id))] = recorded_at
            if this not in self.events:
                self.events[this] = type_, subject
                self._event_names[this] = self._event_name(type_, subject)
                new.add(this)
                if type_ == "order_withdrawn":
                    self.world.fail("an event is stored that its savepoint has rolled back")
        return new

    def _event_name(self, type_: str, subject: str) -> str:
        """Return what an event is called in stories: the first one about order 3, "placed 3"."""
        same = list(self.events.values()).count((type_, subject))
        order, note = number_of(subject)
        name = f"{type_.removeprefix('order_')} {order}" + f".{note}" * bool(note)
        return name if same == 1 else f"{name}, no. {same}"

    def _read_effects(self) -> None:
        for number, key in self._reader.query("SELECT number, key FROM effects ORDER BY number"):
            if number in self._seen_effects:  # not all that is lower: it may have committed later
                continue
            self._seen_effects.add(number)
            self.effects[key] += 1
            if self.effects[key] > 1 + self._again[key]:
                self.world.fail(f"{self.name(key)} has its effect twice in the database")

    def _check_followed(self) -> None:
        """Check that what is stored with an effect is there, and no more: no event is lost."""
        for handler, (type_, number) in self._follows.items():
            due: Counter[str] = Counter()
            for key, times in self.effects.items():
                if key[37:] == handler:
                    due[self.events[UUID(key[:36])][1]] += number * times
            found = Counter(subject for other, subject in self.events.values() if other == type_)
            if found != due:
                [(subject, _), *_] = [*(due - found).items(), *(found - due).items()]
                told = f"{found[subject]} events {type_} about order {UUID(subject).int}"
                self.world.fail(f"{told} are stored, and not {due[subject]}")

    def _read_ends(self) -> None:
        for event_id, handler, token, outcome, error in self._reader.query(ENDS):
            key = f"{UUID(str(event_id))}:{handler}"
            if (this := (key, token)) not in self._history:
                self._history.add(this)
                self._watched_claims.ended(this, outcome, error)
                self._failed[key] += outcome == "failed" and not error.startswith(UNAVAILABLE)

    def _check_change(self, before: Row | None, row: Row) -> None:
        self._tell_change(before, row)
        step = state_of(before), state_of(row)
        if step[0] != step[1] and step not in POSSIBLE and self._reader.shows_each_commit:
            self.world.fail(f"{self.name(row.key)} goes from {step[0]} to {step[1]}")
        is_again = before is not None and row.is_open and not before.is_open
        if is_again:
            self._again[row.key] += 1
            self._external_before[row.key] = self.external[row.key]
        if is_again or row.key in self.decided.retried:
            self._forgiven[row.key] = self._failed[row.key] + self._lost[row.key]
        if before:
            self._check_token(before, row)
            self._check_claims(before, row)
        self._check_given_up(before, row)
        self._check_attempts(before, row)
        if row.is_done_since(before):
            self._check_done(row)

    def _check_token(self, before: Row, row: Row) -> None:
        """Check that a token grows with each change of the owner, and that done is done."""
        name = self.name(row.key)
        if row.token < before.token:
            self.world.fail(f"the token of {name} goes back")
        if row.owner != before.owner and row.owner and row.token == before.token:
            self.world.fail(f"{name} has another owner, and the same token")

    def _check_given_up(self, before: Row | None, row: Row) -> None:
        """Check that `settle` is given up when its end has come, and for ever."""
        key, name, fail = row.key, self.name(row.key), self.world.fail
        if row.is_given_up_since(before):
            self._forgiven[key] = self._failed[key] + self._lost[key]
            if row.owner is None and row.attempts:
                fail(f"{name} is given up, and attempts of its handler still count")
        if before and before.given_up and (not row.given_up or row.is_open > before.is_open):
            fail(f"{name} was given up, and is to run again")
        if row.handler == "settle" and not row.given_up:
            self._check_not_given_up(before, row)

    def _check_not_given_up(self, before: Row | None, row: Row) -> None:
        """Check that the handler may still run."""
        key, name = row.key, self.name(row.key)
        if row.parked_at is not None:
            self.world.fail(f"{name} is parked, and nothing happens instead")
        if key in self.decided.retried:
            self._without_end.add(key)
        late = self.world.wall_clock - PATIENCE - self.stored_events.get(row.event_id, inf)
        is_claimed = before is not None and row.owner and row.token > before.token
        has_end = key not in self._without_end and self.faults.clock_is_steady(0.0)
        if is_claimed and has_end and late > 1:
            self.world.fail(f"{name} is claimed {late:.1f} s after its time was over")

    def _check_attempts(self, before: Row | None, row: Row) -> None:
        """Check that just those attempts count that have failed, or were lost."""
        key, name, fail = row.key, self.name(row.key), self.world.fail
        if row.owner and row.is_open and row.attempts < 1:
            fail(f"{name} is claimed, and that is no attempt")
        ended = self._failed[key] + self._lost[key] - self._forgiven[key]
        is_claimed = row.is_open and row.owner is not None
        if not ended + is_claimed <= row.attempts <= ended + 1:
            told = f"{self._failed[key]} have failed, {self._lost[key]} were lost"
            told += f", {self._forgiven[key]} of them before it began anew"
            fail(f"{name}: {row.attempts} attempts count, {told}")
        if row.attempts > self.max_attempts:
            fail(f"{name} was attempted {row.attempts} times")
        is_parked_now = row.parked_at is not None and (before is None or before.parked_at is None)
        if is_parked_now and row.attempts < self.max_attempts and not row.can_never_succeed:
            fail(f"{name} is parked after {row.attempts} attempts: {row.last_error}")

    def _check_claims(self, before: Row, row: Row) -> None:
        """Check the end of a claim: another one, a release, or its last attempt."""
        name, now = self.name(row.key), self.world.wall_clock
        if not before.owner or not before.is_open or row.token == before.token:
            return
        is_quiet = self.faults.clock_is_steady(self.world.now)
        if row.owner:
            self._lost[row.key] += 1
            if (before.due or 0.0) > now and is_quiet:
                early = f"{(before.due or 0) - now:.1f} s early"
                self.world.fail(f"{row.owner} takes {name} from {before.owner}, {early}")
        elif row.parked_at is not None:  # by a claim, after a last attempt that did not end
            self._lost[row.key] += 1
        elif is_quiet and row.attempts < before.attempts and now < (row.due or now) < PAUSED:
            self.world.fail(f"{name} is given back, and due in {(row.due or now) - now:.1f} s")

    def _check_done(self, row: Row) -> None:
        key, name, fail = row.key, self.name(row.key), self.world.fail
        if row.handler in self._transactional and self.effects[key] != 1 + self._again[key]:
            fail(f"{name} is done, and has {self.effects[key]} effects in the database")
        if row.given_up:
            if self.effects[key] != 1:
                fail(f"{name} is given up, and has {self.effects[key]} effects in the database")
            return
        if row.handler == "settle" and self.effects[key]:
            fail(f"{name} is done, and something has happened instead")
        is_external = row.handler not in self._transactional or row.handler == "ask_bank"
        if is_external and self.external[key] == self._external_before[key]:
            fail(f"{name} is done, and has had no external effect")
        if row.lane:
            if (row.position or 0) < self._last_in_lane[row.lane] and not row.replay:
                fail(f"{name} is done after a later one of its lane")
            self._last_in_lane[row.lane] = max(row.position or 0, self._last_in_lane[row.lane])

    def _check_new(self, new: Collection[UUID]) -> None:
        """Check that events are stored with a delivery for each of their handlers."""
        if not new:
            return
        placed, noted = set[int](), Counter[int]()
        for each in new:
            type_, subject = self.events[each]
            order, _ = number_of(subject)
            placed |= {order} if type_ == "order_placed" else set()
            noted[order] += type_ == "order_noted"
        if noted != (due := Counter(dict.fromkeys(placed, self._notes))):
            self.world.fail(f"notes are stored of orders {dict(noted)}, and not {dict(due)}")
        handlers: dict[UUID, set[str]] = {each: set() for each in new}
        for row in self.rows.values():
            if row.event_id in new:
                handlers[row.event_id].add(row.handler)
        for each, its in handlers.items():
            type_, subject = self.events[each]
            if its not in [set(table[type_]) for table in self._tables]:
                self.world.fail(f"{type_} of {subject} is stored for {sorted(its)} only")

    def _check_lanes(self) -> None:
        """Check that each lane has one head: the first that is neither done nor discarded."""
        seen, now = set[str](), self.world.now
        headless = dict[str, float]()
        for lane in self._headless:  # until this commit, at least
            self._check_headless(lane)
        for row in self.rows.values():
            if not row.lane or not row.is_open:
                continue
            if row.lane in seen and not row.blocked:
                self.world.fail(f"{self.name(row.key)} is not blocked in its lane")
            if row.lane not in seen and row.blocked:
                headless[row.lane] = self._headless.get(row.lane, now)
                if not self._reader.has_lane_locks:
                    self.world.fail(f"{self.name(row.key)} is blocked, and first in its lane")
            seen.add(row.lane)
        self._headless = headless

    def _check_headless(self, lane: str) -> None:
        """Check that a lane goes on soon whose first is blocked: by anyone who has passed it by.

        That may be any process, so what counts is the time in which none was held up.
        """
        since, now = self._headless[lane], self.world.now
        limit = LANE_IS_LEFT if self.world.last_death >= since else LANE_IS_PASSED
        if (seconds := now - max(since, self.faults.calm_since)) > limit:
            self.world.fail(f"the first of the lane {lane} was blocked for {seconds:.0f} s")

    def _tell_change(self, before: Row | None, row: Row) -> None:
        states = [before and _state(before), _state(row)]
        if states[0] != states[1]:
            told = " → ".join(str(each) for each in states if each)
            self.world.story.tell("  COMMIT", f"{self.name(row.key)}: {told}")

    # at the end

    @property
    def outstanding(self) -> Sequence[Row]:
        """What is neither done nor discarded."""
        return [row for row in self.rows.values() if row.is_open]

    def check_end(self) -> None:
        """Check what has to be true when all that was outstanding is done."""
        fail = self.world.fail
        stored = {UUID(str(each)) for (each,) in self._reader.query("SELECT id FROM orders")}
        if lost := self.acknowledged - stored:
            fail(f"orders were acknowledged, and are not stored: {lost}")
        placed = Counter(
            subject for type_, subject in self.events.values() if type_ == "order_placed"
        )
        if placed != Counter(map(str, stored)):
            fail(f"orders and their events do not agree: {placed} and {stored}")
        for row in self.rows.values():
            if row.parked_at is not None:
                fail(f"{self.name(row.key)} is parked in the end")
        self._watched_claims.check_history()
        self._messages.check_end()


def _state(row: Row) -> str:
    """Return the state of a delivery in a word or two."""
    if row.discarded_at is not None:
        return "discarded"
    if not row.is_open:
        return "done"
    if row.parked_at is not None:
        return "parked"
    if row.owner:
        return f"claim {row.token} by {row.owner.split('@')[0]}"
    if row.is_held:
        return "paused"
    return "blocked" if row.blocked else f"attempts {row.attempts}"
