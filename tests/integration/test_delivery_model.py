"""A random walk through the life of deliveries, with several workers, checked at every step.

Hypothesis draws the steps: claim, succeed, fail, give back, finish late, crash, move the clock. The
fake and SQLite are walked through the same model, which knows only who did what effect when; and
every step a row takes has to be in the table `TRANSITIONS`. The room "operations" adds what a
person decides.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
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

from allocation.domain.exceptions import InvalidValue
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.envelopes import EventId
from allocation.service_layer.exceptions import DeliverySuperseded
from tests.builders import HANDLER_NAMES, POLICY, a_failure, a_user, a_user_id
from tests.transitions import TRANSITIONS, State, Step
from tests.worlds import FakeWorld, World, a_uow, sql_world, sqlite_url

T = TypeVar("T")

MAX_ATTEMPTS = 3
TRANSACTIONAL = "log_registration"
WORKERS = st.integers(0, 2)
Key = tuple[EventId, str]


class DeliveryModel(RuleBasedStateMachine):
    """Three workers and a database; subclasses say which."""

    policy = replace(POLICY, max_attempts=MAX_ATTEMPTS)
    portal: BlockingPortal

    def __init__(self) -> None:
        super().__init__()
        self._exits = AsyncExitStack()
        self._folder = TemporaryDirectory()
        self._portal_context = start_blocking_portal()
        self.portal = self._portal_context.__enter__()
        self.world = self.call(self.open_world)
        self.in_hand: list[tuple[int, Delivery]] = []
        self.effects: Counter[Key] = Counter()
        self.owed: set[Key] = set()
        self.states: dict[Key, State] = {}

    async def open_world(self) -> World:
        raise NotImplementedError

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return self.portal.call(function, *args)

    def teardown(self) -> None:
        self.call(self._exits.aclose)
        self._portal_context.__exit__(None, None, None)
        self._folder.cleanup()

    @initialize()
    def an_event_is_committed(self) -> None:
        self.call(self._commit_event)

    @rule()
    def another_event_is_committed(self) -> None:
        self.call(self._commit_event)

    async def _commit_event(self) -> None:
        async with (uow := a_uow(self.world)):
            uow.users.add(a_user(email=f"user{len(self.states)}@example.com"))
            await uow.commit()
        envelope = uow.events[0]
        for event_id, handler in await self.world.deliveries():
            if event_id == envelope.id:
                self.owed.add((event_id, handler))
                claim = Delivery(envelope=envelope, handler=handler, attempt=1)
                self.in_hand.append((0, claim))
                self.states[event_id, handler] = State.LEASED

    @rule(worker=WORKERS, limit=st.integers(1, 5))
    def claim(self, worker: int, limit: int) -> None:
        for delivery in self.call(self.world.outbox().claim, limit, HANDLER_NAMES):
            assert delivery.attempt <= MAX_ATTEMPTS
            self.in_hand.append((worker, delivery))
            self._step(_key(delivery), Step.CLAIM)
        for key, row in self.call(self.world.deliveries).items():
            if row.parked_at is not None and self.states[key] is not State.PARKED:
                assert row.attempts == MAX_ATTEMPTS
                self._step(key, Step.EXHAUST)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        delivery = self._take(data)
        is_current = self._is_current(delivery)
        happened = self.call(self._succeed, delivery)
        assert happened or not is_current
        self.effects[_key(delivery)] += happened
        if is_current:
            self._step(_key(delivery), Step.SUCCEED)

    async def _succeed(self, delivery: Delivery) -> bool:
        """Do the work, and tell whether it took effect."""
        if delivery.handler != TRANSACTIONAL:
            await self.world.outbox().settle(delivery)
            return True
        try:
            async with (uow := a_uow(self.world, delivery)):
                await uow.registration_log.append(a_user_id(), "ivan@example.com")
                await uow.commit()
        except DeliverySuperseded:
            return False
        return True

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), permanent=st.booleans())
    def fail(self, data: st.DataObject, permanent: bool) -> None:
        error = InvalidValue("name", "is empty") if permanent else OSError("down")
        delivery = self._take(data)
        outbox = self.world.outbox()
        pause = self.policy.pause_after(delivery.attempt, error, random=lambda: 1.0)
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
        self.call(self.world.outbox().release, delivery)
        if is_current:
            self._step(_key(delivery), Step.RELEASE)

    @rule(worker=WORKERS)
    def crash(self, worker: int) -> None:
        self.in_hand = [(owner, held) for owner, held in self.in_hand if owner != worker]

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.call(self.world.move_clock, seconds)

    @invariant()
    def every_row_is_where_the_table_says(self) -> None:
        rows = self.call(self.world.deliveries)
        done = self.call(self.world.finished).keys()
        assert done == {key for key, state in self.states.items() if state is State.DONE}
        assert rows.keys() == self.states.keys() - done
        for key, row in rows.items():
            assert (row.parked_at is not None) == (self.states[key] is State.PARKED)
            assert row.held == (self.states[key] is State.LEASED)

    @invariant()
    def no_delivery_is_lost(self) -> None:
        rows = self.call(self.world.deliveries)
        for key in self.owed - rows.keys():
            assert self.effects[key] >= 1

    @invariant()
    def no_transactional_effect_happens_twice(self) -> None:
        for (_, handler), count in self.effects.items():
            assert handler != TRANSACTIONAL or count <= 1
        logged = sum(n for (_, handler), n in self.effects.items() if handler == TRANSACTIONAL)
        assert len(self.call(self.world.logged)) == logged

    @invariant()
    def attempts_never_exceed_the_maximum(self) -> None:
        for row in self.call(self.world.deliveries).values():
            assert row.attempts <= MAX_ATTEMPTS

    @invariant()
    def what_is_parked_blocks_nobody(self) -> None:
        rows = self.call(self.world.deliveries).values()
        pending = [row.due_at for row in rows if row.parked_at is None]
        until_due = self.call(self.world.outbox().seconds_until_due, HANDLER_NAMES)
        assert (until_due is None) == (not pending)

    def _take(self, data: st.DataObject) -> Delivery:
        index = data.draw(st.integers(0, len(self.in_hand) - 1))
        return self.in_hand.pop(index)[1]

    def _step(self, key: Key, step: Step) -> None:
        self.states[key] = TRANSITIONS[self.states[key], step]

    def _is_current(self, delivery: Delivery) -> bool:
        row = self.call(self.world.deliveries).get(_key(delivery))
        return row is not None and row.token == delivery.token and row.parked_at is None


def _key(delivery: Delivery) -> Key:
    return delivery.envelope.id, delivery.handler


class FakeModel(DeliveryModel):
    """The model on the fakes."""

    async def open_world(self) -> World:
        return FakeWorld(self.policy)


class SqliteModel(DeliveryModel):
    """The model on SQLite."""

    async def open_world(self) -> World:
        url = sqlite_url(Path(self._folder.name))
        return await self._exits.enter_async_context(sql_world(url, self.policy))


TestFakeModel = FakeModel.TestCase
TestFakeModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestSqliteModel = SqliteModel.TestCase
TestSqliteModel.settings = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
