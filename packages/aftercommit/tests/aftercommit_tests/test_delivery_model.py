"""A random walk through the life of deliveries, with several workers, checked at every step.

Hypothesis draws the steps: claim, succeed, fail, give back, finish late, crash, move the clock,
pause a handler, resume it. The model knows only who did what effect when; and every step a row
takes has to be in the table `TRANSITIONS`. The extension "postgresql" walks on its database, and
"operations" adds what a person decides.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from aftercommit import testing
from aftercommit.claims import Claim
from aftercommit.errors import DeliverySuperseded, InvalidValue
from aftercommit.handler_rows import Later, Ordered
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from aftercommit_tests.builders import NAMES as AT_ONCE
from aftercommit_tests.builders import PLAIN, POLICY, a_command, a_failure, a_thing
from aftercommit_tests.things.app import APP
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import forget
from aftercommit_tests.transitions import TRANSITIONS, State, Step
from aftercommit_tests.world import Deliveries, Key, World, open_world

T = TypeVar("T")

MAX_ATTEMPTS = 3
TRANSACTIONAL = "write_down"
FOR_LATER, DELAY = "forget", 20.0
IN_ORDER = "whisper"  # all of them in one lane
NAMES = [*AT_ONCE, FOR_LATER, IN_ORDER]
WORKERS = st.integers(0, 2)


async def whisper(event: ThingMade) -> None:
    """Have no effect at all, but in order."""


@dataclass(frozen=True)
class Stored:
    """What the world has stored, and when a worker would have to look again."""

    rows: Deliveries
    done: set[Key]
    lines: int
    until_due: float | None


class DeliveryModel(RuleBasedStateMachine):
    """Three workers and a database; subclasses say which."""

    policy = replace(POLICY, max_attempts=MAX_ATTEMPTS)
    portal: BlockingPortal
    _stored: Stored | None = None

    def __init__(self) -> None:
        super().__init__()
        self._exits = ExitStack()
        self._folder = TemporaryDirectory()
        self._portal_context = start_blocking_portal()
        self.portal = self._portal_context.__enter__()
        self.world = self.open_world()
        self.in_hand: list[tuple[int, Claim]] = []
        self.effects: Counter[Key] = Counter()
        self.owed: set[Key] = set()
        self.states: dict[Key, State] = {}
        self.now = 0.0
        self.scheduled: dict[Key, float] = {}
        self.paused: set[str] = set()

    def open_world(self) -> World:
        raise NotImplementedError

    def open_database(self, url: str) -> World:
        later: Later[ThingMade, None] = Later(forget, after=timedelta(seconds=DELAY))
        handlers = {**PLAIN, ThingMade: [*PLAIN[ThingMade], later, Ordered(whisper)]}
        what = {"policy": self.policy, "event_handlers": handlers, "keys": {ThingMade: type}}
        opening = open_world(url, **what)
        return self._exits.enter_context(self.portal.wrap_async_context_manager(opening))

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        self._stored = None
        return self.portal.call(function, *args)

    def stored(self) -> Stored:
        """Return what is stored after this step: it is read once, for all that look at it."""
        self._stored = self._stored or self.portal.call(self._look)
        return self._stored

    async def _look(self) -> Stored:
        world = self.world
        return Stored(
            await world.deliveries(),
            {*await world.finished()},
            len(await world.lines()),
            await world.outbox().seconds_until_due(NAMES),
        )

    def teardown(self) -> None:
        self._exits.close()
        self._portal_context.__exit__(None, None, None)
        self._folder.cleanup()

    @initialize()
    def an_event_is_committed(self) -> None:
        self.call(self._commit_event)

    @rule()
    def another_event_is_committed(self) -> None:
        self.call(self._commit_event)

    async def _commit_event(self) -> None:
        async with (unit := self.world.a_uow()) as uow:
            uow.things.add(a_thing(a_command().name))
        claims = {claim.handler: claim for claim in unit.committed.claims}
        [event] = unit.committed.events
        for name, each in self.world.envelopes.subscriptions[type(event.event)].items():
            key = (event.id, name)
            self.owed.add(key)
            self.states[key] = State.NONE
            if each.delay:
                self.scheduled[key] = self.now + each.delay
                self._step(key, Step.COMMIT_FOR_LATER)
            elif name == IN_ORDER and self._first_in_lane() is not None:
                assert name not in claims
                self._step(key, Step.COMMIT_BEHIND)
            else:
                is_held = name in self.paused
                assert is_held == (name not in claims)
                self.in_hand += [] if is_held else [(0, claims[name])]
                self._step(key, Step.COMMIT_FOR_WORKERS if is_held else Step.COMMIT)

    @rule(worker=WORKERS, limit=st.integers(1, 5))
    def claim(self, worker: int, limit: int) -> None:
        for delivery in self.call(self.world.outbox().claim, limit, NAMES):
            assert delivery.attempt <= MAX_ATTEMPTS
            assert delivery.handler not in self.paused
            assert self.scheduled.get(_key(delivery), 0.0) <= self.now
            self.in_hand.append((worker, delivery))
            self._step(_key(delivery), Step.CLAIM)
        for key, row in self.stored().rows.items():
            if row.parked_at is not None and self.states[key] is not State.PARKED:
                assert row.attempts == MAX_ATTEMPTS
                self._step(key, Step.EXHAUST)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        delivery = self._take(data)
        is_current = self._is_current(delivery)
        assert self.call(self._succeed, delivery) is is_current
        self.effects[_key(delivery)] += is_current or delivery.handler != TRANSACTIONAL
        if is_current:
            self._step(_key(delivery), Step.SUCCEED)

    async def _succeed(self, delivery: Claim) -> bool:
        """Do the work, and tell whether it counts."""
        try:
            if delivery.handler != TRANSACTIONAL:
                await self.world.outbox().settle(delivery)
                return True
            async with self.world.a_uow(delivery) as uow:
                uow.write("done")
        except DeliverySuperseded:
            return False
        return True

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), permanent=st.booleans())
    def fail(self, data: st.DataObject, permanent: bool) -> None:
        error = InvalidValue("name", "is empty") if permanent else OSError("down")
        delivery = self._take(data)
        outbox = self.world.outbox()
        pause = self.policy.retry_delay(delivery, error, random=lambda: 1.0)
        is_current = self._is_current(delivery)
        with nullcontext() if is_current else pytest.raises(DeliverySuperseded):
            self.call(outbox.record_failure, a_failure(delivery, error, retry_in=pause))
        if is_current:
            self._step(_key(delivery), Step.GIVE_UP if pause is None else Step.FAIL)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        delivery = self._take(data)
        is_current = self._is_current(delivery)
        self.call(self.world.outbox().release, [delivery])
        if is_current:
            self._step(_key(delivery), Step.RELEASE)

    @rule(worker=WORKERS)
    def crash(self, worker: int) -> None:
        self.in_hand = [(owner, held) for owner, held in self.in_hand if owner != worker]

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.call(self.world.move_clock, seconds)
        self.now += seconds

    @rule(handler=st.sampled_from([TRANSACTIONAL, FOR_LATER, "announce"]))
    def pause_or_resume(self, handler: str) -> None:
        is_paused = handler in self.paused
        self.paused ^= {handler}
        self.call(self.world.resume if is_paused else self.world.pause, handler)
        for key, state in self.states.items():
            if key[1] == handler and is_paused and state is State.PAUSED:
                self._step(key, Step.RESUME_BEFORE if key in self.scheduled else Step.RESUME)
            elif key[1] == handler and not is_paused:
                self._hold(key)

    @invariant()
    def every_row_is_where_the_table_says(self) -> None:
        rows, done = self.stored().rows, self.stored().done
        assert done == {key for key, state in self.states.items() if state is State.DONE}
        assert rows.keys() == self.states.keys() - done
        for key, row in rows.items():
            assert (row.parked_at is not None) == (self.states[key] is State.PARKED)
            assert row.held == (self.states[key] is State.RUNNING)
            assert row.blocked == (self.states[key] is State.BLOCKED)

    @invariant()
    def no_delivery_is_lost(self) -> None:
        for key in self.owed - self.stored().rows.keys():
            assert self.effects[key] >= 1

    @invariant()
    def no_transactional_effect_happens_twice(self) -> None:
        for (_, handler), count in self.effects.items():
            assert handler != TRANSACTIONAL or count <= 1
        lines = sum(n for (_, handler), n in self.effects.items() if handler == TRANSACTIONAL)
        assert self.stored().lines == lines

    @invariant()
    def attempts_never_exceed_the_maximum(self) -> None:
        for row in self.stored().rows.values():
            assert row.attempts <= MAX_ATTEMPTS

    @invariant()
    def what_is_parked_blocks_nobody(self) -> None:
        rows = self.stored().rows.items()
        parked = {key for key, row in rows if row.parked_at is not None}
        waits = {key for key, state in self.states.items() if state is State.BLOCKED}
        left = [key for key, _ in rows if key[1] not in self.paused]
        pending = [key for key in left if key not in parked | waits]
        assert (self.stored().until_due is None) == (not pending)

    def _take(self, data: st.DataObject) -> Claim:
        index = data.draw(st.integers(0, len(self.in_hand) - 1))
        return self.in_hand.pop(index)[1]

    def _first_in_lane(self) -> Key | None:
        """Return the first that is not done, in the order of the commits."""
        left = (State.NONE, State.DONE)
        lane = (key for key, state in self.states.items() if state not in left)
        return next((key for key in lane if key[1] == IN_ORDER), None)

    def _step(self, key: Key, step: Step) -> None:
        self.states[key] = TRANSITIONS[self.states[key], step]
        first = self._first_in_lane()
        if first and self.states[first] is State.BLOCKED:
            self._step(first, Step.UNBLOCK)
        if step in (Step.CLAIM, Step.RETRY):
            self.scheduled.pop(key, None)
        if key[1] in self.paused:
            self._hold(key)

    def _hold(self, key: Key) -> None:
        if self.states[key] in (State.PENDING, State.SCHEDULED):
            self._step(key, Step.PAUSE)

    def _is_current(self, delivery: Claim) -> bool:
        row = self.stored().rows.get(_key(delivery))
        return row is not None and row.token == delivery.token and row.parked_at is None


def _key(delivery: Claim) -> Key:
    return delivery.envelope.id, delivery.handler


class SqliteModel(DeliveryModel):
    """The model on SQLite."""

    def open_world(self) -> World:
        return self.open_database(testing.sqlite_url(APP, Path(self._folder.name)))


SETTINGS = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSqliteModel = SqliteModel.TestCase
TestSqliteModel.settings = SETTINGS
