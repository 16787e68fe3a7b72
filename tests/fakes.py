"""In-memory stand-ins for the adapters. They pass the same contract suites as the real ones."""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

import anyio
from anyio.lowlevel import checkpoint

from allocation.domain.events import UserId
from allocation.domain.exceptions import (
    ConcurrentUpdate,
    DeliveryNotFound,
    DeliverySuperseded,
    EmailAlreadyRegistered,
    UserNotFound,
)
from allocation.domain.model import Aggregate, BatchReference, Coupon, CouponBatch, User
from allocation.service_layer.delivery import (
    Cause,
    Delivery,
    DeliveryPolicy,
    Envelope,
    EventId,
    IdempotencyKey,
)
from allocation.service_layer.emails import Email
from allocation.service_layer.unit_of_work import Recording, UnitOfWork

Key = tuple[EventId, str]
A = TypeVar("A", bound=Aggregate)


@dataclass(frozen=True)
class StoredDelivery:
    """A row of the fake deliveries table."""

    attempts: int
    due_at: float
    last_error: str | None = None
    parked_at: float | None = None


@dataclass
class FakeDatabase:
    """The tables, and a clock that stands still until a test moves it."""

    clock: float = 1_000_000.0
    users: dict[UserId, User] = field(default_factory=dict)
    batches: dict[BatchReference, CouponBatch] = field(default_factory=dict)
    coupons: list[Coupon] = field(default_factory=list)
    registration_log: list[tuple[UserId, str]] = field(default_factory=list)
    user_view: dict[UserId, tuple[str, str, str | None]] = field(default_factory=dict)
    events: dict[EventId, tuple[float, Envelope]] = field(default_factory=dict)
    deliveries: dict[Key, StoredDelivery] = field(default_factory=dict)
    coupon_lock: anyio.Lock = field(default_factory=anyio.Lock)

    def owned(self, delivery: Delivery) -> bool:
        """Tell whether this claim is the newest one, and not parked."""
        row = self.deliveries.get((delivery.envelope.id, delivery.handler))
        return row is not None and row.attempts == delivery.attempt and row.parked_at is None


class FakeUsers:
    """Works on copies, as a transaction does."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.seen: list[User] = []

    def add(self, user: User) -> None:
        self.seen.append(user)

    async def find(self, user_id: UserId) -> User | None:
        await checkpoint()
        stored = self._database.users.get(user_id)
        if stored is None:
            return None
        self.seen.append(copy(stored))
        return self.seen[-1]

    async def get(self, user_id: UserId) -> User:
        user = await self.find(user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user


class FakeCouponBatches:
    """Works on copies, as a transaction does, and locks the batch it allocates from."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._locked = False
        self.seen: list[CouponBatch] = []

    def add(self, batch: CouponBatch) -> None:
        self.seen.append(batch)

    async def find(self, reference: BatchReference) -> CouponBatch | None:
        await checkpoint()
        stored = self._database.batches.get(reference)
        return None if stored is None else self._load(stored)

    async def next_available(self) -> CouponBatch:
        await self._database.coupon_lock.acquire()
        self._locked = True
        batches = sorted(self._database.batches.values(), key=lambda batch: batch.subject)
        available = (batch for batch in batches if batch.remaining)
        return self._load(next(available, CouponBatch.exhausted()))

    def unlock(self) -> None:
        if self._locked:
            self._locked = False
            self._database.coupon_lock.release()

    def _load(self, stored: CouponBatch) -> CouponBatch:
        batch = copy(stored)
        batch.coupons = set()  # write-only, as in the real repository
        self.seen.append(batch)
        return batch


class FakeRegistrationLog:
    """Keeps lines until the commit."""

    def __init__(self) -> None:
        self.lines: list[tuple[UserId, str]] = []

    async def append(self, user_id: UserId, email: str) -> None:
        await checkpoint()
        self.lines.append((user_id, email))


class FakeUserView:
    """Reads the aggregates as they are, and writes with the commit."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.rows: dict[UserId, tuple[str, str, str | None]] = {}

    async def refresh(self, user_id: UserId) -> None:
        await checkpoint()
        user = self._database.users[user_id]
        codes = (coupon.code for coupon in self._database.coupons if coupon.user_id == user_id)
        self.rows[user_id] = (str(user.name), str(user.email), next(codes, None))


class FakeUnitOfWork(UnitOfWork):
    """A unit of work on the fake database; a commit is one step, so it is atomic."""

    users: FakeUsers
    coupon_batches: FakeCouponBatches
    registration_log: FakeRegistrationLog
    user_view: FakeUserView

    def __init__(
        self,
        database: FakeDatabase,
        policy: DeliveryPolicy,
        recording: Recording,
        cause: Cause,
        delivery: Delivery | None,
    ) -> None:
        super().__init__(recording, cause, delivery)
        self._database = database
        self._policy = policy

    async def _begin(self) -> None:
        await checkpoint()
        self.users = FakeUsers(self._database)
        self.coupon_batches = FakeCouponBatches(self._database)
        self.registration_log = FakeRegistrationLog()
        self.user_view = FakeUserView(self._database)

    def _seen(self) -> Iterable[Aggregate]:
        return chain(self.users.seen, self.coupon_batches.seen)

    async def _commit(self, events: Sequence[Envelope]) -> None:
        await checkpoint()
        database = self._database
        self._check()
        if self._delivery is not None:
            if not database.owned(self._delivery):
                raise DeliverySuperseded(self._delivery.envelope.id, self._delivery.handler)
            del database.deliveries[self._delivery.envelope.id, self._delivery.handler]
        for user in self.users.seen:
            database.users[user.id] = _stored(user)
        for batch in self._real_batches():
            database.coupons.extend(batch.coupons)
            database.batches[batch.reference] = _stored(batch)
        database.registration_log.extend(self.registration_log.lines)
        database.user_view.update(self.user_view.rows)
        for envelope in events:
            database.events[envelope.id] = (database.clock, envelope)
            for handler in self._subscribers(envelope):
                database.deliveries[envelope.id, handler] = StoredDelivery(
                    attempts=1, due_at=database.clock + self._policy.lease
                )

    async def _close(self) -> None:
        self.coupon_batches.unlock()

    def _real_batches(self) -> list[CouponBatch]:
        return [batch for batch in self.coupon_batches.seen if batch.quantity]

    def _check(self) -> None:
        for user in self.users.seen:
            stored = self._database.users.get(user.id)
            if user.version != (stored.version if stored else 0):
                raise ConcurrentUpdate
            others = (other for other in self._database.users.values() if other.id != user.id)
            if any(other.email == user.email for other in others):
                raise EmailAlreadyRegistered(user.email)
        for batch in self._real_batches():
            kept = self._database.batches.get(batch.reference)
            if batch.version != (kept.version if kept else 0):
                raise ConcurrentUpdate
            if {c.user_id for c in batch.coupons} & {c.user_id for c in self._database.coupons}:
                raise ConcurrentUpdate


def _stored(aggregate: A) -> A:
    stored = copy(aggregate)
    stored.version += 1
    return stored


class FakeOutbox:
    """The outbox on the fake database."""

    def __init__(self, database: FakeDatabase, policy: DeliveryPolicy) -> None:
        self._database = database
        self._policy = policy

    async def complete(self, delivery: Delivery) -> None:
        await checkpoint()
        if self._database.owned(delivery):
            del self._database.deliveries[delivery.envelope.id, delivery.handler]

    async def reschedule(self, delivery: Delivery, error: Exception, *, pause: float) -> None:
        await self._update(
            delivery, last_error=_describe(error), due_at=self._database.clock + pause
        )

    async def park(self, delivery: Delivery, error: Exception) -> None:
        await self._update(delivery, last_error=_describe(error), parked_at=self._database.clock)

    async def release(self, delivery: Delivery) -> None:
        await self._update(delivery, due_at=self._database.clock)

    async def claim(self, limit: int) -> list[Delivery]:
        await checkpoint()
        claims: list[Delivery] = []
        for key, row in sorted(self._pending(), key=lambda item: item[1].due_at):
            if row.due_at > self._database.clock:
                continue
            if row.attempts >= self._policy.max_attempts:
                self._database.deliveries[key] = replace(
                    row,
                    parked_at=self._database.clock,
                    last_error="the last attempt did not finish",
                )
            elif len(claims) < limit:
                leased = replace(
                    row,
                    attempts=row.attempts + 1,
                    due_at=self._database.clock + self._policy.lease,
                )
                self._database.deliveries[key] = leased
                envelope = self._database.events[key[0]][1]
                claims.append(Delivery(envelope=envelope, handler=key[1], attempt=leased.attempts))
        return claims

    async def seconds_until_due(self) -> float | None:
        await checkpoint()
        return min((row.due_at - self._database.clock for _, row in self._pending()), default=None)

    async def retry(self, event_id: EventId, handler: str) -> None:
        await checkpoint()
        if (event_id, handler) not in self._database.deliveries:
            raise DeliveryNotFound(event_id, handler)
        self._make_due((event_id, handler))

    async def retry_all_parked(self) -> int:
        await checkpoint()
        parked = [key for key, row in self._database.deliveries.items() if row.parked_at]
        for key in parked:
            self._make_due(key)
        return len(parked)

    async def discard(self, event_id: EventId, handler: str) -> None:
        await checkpoint()
        if self._database.deliveries.pop((event_id, handler), None) is None:
            raise DeliveryNotFound(event_id, handler)

    async def prune_events(self, *, older_than: float) -> int:
        await checkpoint()
        owing = {event_id for event_id, _ in self._database.deliveries}
        limit = self._database.clock - older_than
        old = [
            event_id
            for event_id, (recorded_at, _) in self._database.events.items()
            if recorded_at < limit and event_id not in owing
        ]
        for event_id in old:
            del self._database.events[event_id]
        return len(old)

    def _pending(self) -> list[tuple[Key, StoredDelivery]]:
        rows = self._database.deliveries.items()
        return [(key, row) for key, row in rows if row.parked_at is None]

    def _make_due(self, key: Key) -> None:
        row = self._database.deliveries[key]
        due_now = replace(row, attempts=0, due_at=self._database.clock, parked_at=None)
        self._database.deliveries[key] = due_now

    async def _update(self, delivery: Delivery, **changes: float | str) -> None:
        await checkpoint()
        if self._database.owned(delivery):
            key = (delivery.envelope.id, delivery.handler)
            row = self._database.deliveries[key]
            self._database.deliveries[key] = replace(row, **changes)  # type: ignore[arg-type]


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@dataclass
class FakeNotifications:
    """Keeps the e-mails it was given; fails for the recipients it was told to fail for."""

    sent: list[tuple[IdempotencyKey, Email]] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        await checkpoint()
        if email.recipient in self.failures:
            raise self.failures[email.recipient]
        self.sent.append((idempotency_key, email))

    def subjects_to(self, recipient: str) -> list[str]:
        """Return the subjects of the e-mails to this recipient, sorted."""
        return sorted(email.subject for _, email in self.sent if email.recipient == recipient)
