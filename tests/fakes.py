"""In-memory stand-ins for the adapters. They pass the same contract suites as the real ones."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import date
from itertools import chain, repeat
from typing import TypeVar

import anyio
from anyio import current_time
from anyio.lowlevel import checkpoint

from allocation.domain.events import UserId
from allocation.domain.exceptions import (
    CouponAlreadyAllocated,
    EmailAlreadyRegistered,
    UserNotFound,
)
from allocation.domain.model import Aggregate, Coupon, CouponBatch, User
from allocation.domain.values import BatchReference
from allocation.service_layer.delivery import (
    Delivery,
    DeliveryPolicy,
    Failure,
    IdempotencyKey,
    Trigger,
)
from allocation.service_layer.emails import Email
from allocation.service_layer.envelopes import (
    CommandEnvelope,
    Envelope,
    EnvelopeFactory,
    EventId,
)
from allocation.service_layer.exceptions import (
    ChangedWhileReading,
    ConcurrentUpdate,
    DeliverySuperseded,
    MessageAlreadyHandled,
)
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.views import UserRow

A = TypeVar("A", bound=Aggregate)
Key = tuple[EventId, str]
KeptFailure = tuple[int, str]  # attempt and error
LEASE_LOST = "it had not finished when its lease ended"


@dataclass(frozen=True)
class StoredDelivery:
    """A row of the fake deliveries table, as far as it decides what comes next."""

    attempts: int
    token: int
    due_at: float
    last_error: str | None = None
    parked_at: float | None = None
    held: bool = False  # by a process that works on it, or did when it died
    replay: bool = False


@dataclass
class FakeDatabase:
    """The tables, and a clock that stands still until a test moves it."""

    clock: float = 1_000_000.0
    users: dict[UserId, User] = field(default_factory=dict)
    batches: dict[BatchReference, CouponBatch] = field(default_factory=dict)
    coupons: dict[UserId, str] = field(default_factory=dict)
    registration_log: list[tuple[UserId, str]] = field(default_factory=list)
    user_view: dict[UserId, UserRow] = field(default_factory=dict)
    commands: list[CommandEnvelope] = field(default_factory=list)
    events: dict[EventId, tuple[float, Envelope]] = field(default_factory=dict)
    deliveries: dict[Key, StoredDelivery] = field(default_factory=dict)  # what is owed
    finished: dict[Key, int] = field(default_factory=dict)  # the attempt that was the last
    failures: dict[Key, list[KeptFailure]] = field(default_factory=dict)
    coupon_lock: anyio.Lock = field(default_factory=anyio.Lock)
    schedule: Iterator[int] = field(default_factory=lambda: repeat(1))

    async def step(self) -> None:
        """Let other tasks run, for as many turns as the schedule says."""
        for _ in range(next(self.schedule, 1)):
            await checkpoint()

    def owned(self, delivery: Delivery) -> bool:
        """Tell whether this claim is the newest one, and not parked."""
        row = self.deliveries.get((delivery.envelope.id, delivery.handler))
        return row is not None and row.token == delivery.token and row.parked_at is None

    def finish(self, delivery: Delivery) -> None:
        """Mark a delivery as done."""
        key = (delivery.envelope.id, delivery.handler)
        del self.deliveries[key]
        self.finished[key] = delivery.attempt

    def keep_failure(self, key: Key, attempt: int, error: str) -> None:
        """Keep the failure of an attempt, and of one delivery the last ten."""
        self.failures[key] = [*self.failures.get(key, []), (attempt, error)][-10:]


class FakeStoredUsers:
    """Works on copies, as a transaction does."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.seen: list[User] = []

    async def find(self, user_id: UserId) -> User | None:
        await self._database.step()
        user = deepcopy(self._database.users.get(user_id))
        if user is not None:
            self.seen.append(user)
        return user

    async def get(self, user_id: UserId) -> User:
        user = await self.find(user_id)
        if user is None:
            raise UserNotFound(user_id)
        return user


class FakeUsers(FakeStoredUsers):
    """The same, and users can be added."""

    def add(self, user: User) -> None:
        self.seen.append(user)


@dataclass(frozen=True)
class FakeStored:
    """What is stored, to look at."""

    users: FakeStoredUsers


@asynccontextmanager
async def fake_reading(database: FakeDatabase) -> AsyncIterator[FakeStored]:
    """Look things up."""
    users = FakeStoredUsers(database)
    yield FakeStored(users)
    if any(user.recorded_events for user in users.seen):
        raise ChangedWhileReading


class FakeCouponBatches:
    """Works on copies, as a transaction does, and locks the batch it allocates from."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._locked = False
        self.seen: list[CouponBatch] = []

    def add(self, batch: CouponBatch) -> None:
        self.seen.append(batch)

    async def find(self, reference: BatchReference) -> CouponBatch | None:
        await self._database.step()
        return self._load(reference) if reference in self._database.batches else None

    async def next_available(self) -> CouponBatch:
        await self._database.coupon_lock.acquire()
        self._locked = True
        batches = self._database.batches
        available = [reference for reference, row in batches.items() if row.remaining]
        if available:
            return self._load(min(available, key=str))
        if batches:
            told = [(row.reported_on or date.max, key) for key, row in batches.items()]
            return self._load(max(told, key=lambda batch: batch[0])[1])
        self.seen.append(CouponBatch.exhausted())
        return self.seen[-1]

    def unlock(self) -> None:
        if self._locked:
            self._locked = False
            self._database.coupon_lock.release()

    def _load(self, reference: BatchReference) -> CouponBatch:
        batch = deepcopy(self._database.batches[reference])
        self.seen.append(batch)
        return batch


class FakeRegistrationLog:
    """Keeps lines until the commit."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.lines: list[tuple[UserId, str]] = []

    async def append(self, user_id: UserId, email: str) -> None:
        await self._database.step()
        self.lines.append((user_id, email))


class FakeUserView:
    """Notes whom to refresh; the commit then copies what is stored."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.refreshed: set[UserId] = set()

    async def refresh(self, user_id: UserId) -> None:
        await self._database.step()
        self.refreshed.add(user_id)


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
        envelope_factory: EnvelopeFactory,
        trigger: Trigger,
    ) -> None:
        super().__init__(envelope_factory, trigger)
        self._database = database
        self._policy = policy
        self._unlock: Callable[[], None] = lambda: None

    async def _begin(self) -> None:
        await self._database.step()
        self.users = FakeUsers(self._database)
        self.coupon_batches = FakeCouponBatches(self._database)
        self._unlock = self.coupon_batches.unlock
        self.registration_log = FakeRegistrationLog(self._database)
        self.user_view = FakeUserView(self._database)
        self._check_command()

    def _seen(self) -> Iterable[Aggregate]:
        return chain(self.users.seen, self.coupon_batches.seen)

    async def _write(self, events: Sequence[Envelope]) -> None:
        await self._database.step()
        self._users, self._batches = self.users.seen, self.coupon_batches.seen
        self._lines, self._refreshed = self.registration_log.lines, self.user_view.refreshed
        self._new_events = events
        self._check()

    async def _commit(self) -> None:
        database = self._database
        self._check()
        self._settle()
        for user in self._users:
            database.users[user.id] = _stored(user)
        for batch in self._real_batches():
            database.batches[batch.reference] = _stored(batch)
            database.batches[batch.reference].new_coupons = ()
        database.coupons.update((coupon.user_id, coupon.code) for coupon in self._new_coupons())
        database.registration_log.extend(self._lines)
        for user_id in self._refreshed & database.users.keys():
            coupon = database.coupons.get(user_id)
            database.user_view[user_id] = _row(user_id, database.users[user_id], coupon)
        for envelope in self._new_events:
            database.events[envelope.id] = (database.clock, envelope)
            for handler in self._envelope_factory.subscribers(envelope):
                database.deliveries[envelope.id, handler] = (
                    StoredDelivery(
                        1, token=1, due_at=database.clock + self._policy.lease, held=True
                    )
                    if self._policy.inline
                    else StoredDelivery(0, token=1, due_at=database.clock)
                )

    async def _close(self) -> None:
        self._unlock()

    def _settle(self) -> None:
        if isinstance(self._trigger, CommandEnvelope):
            self._database.commands.append(self._trigger)
        else:
            self._database.finish(self._trigger)

    def _check_command(self) -> None:
        if not isinstance(self._trigger, CommandEnvelope) or self._trigger.received.id is None:
            return
        received = self._trigger.received
        if any(command.received == received for command in self._database.commands):
            raise MessageAlreadyHandled(received.source, received.id)

    def _real_batches(self) -> list[CouponBatch]:
        return [batch for batch in self._batches if batch.quantity]

    def _new_coupons(self) -> list[Coupon]:
        return [coupon for batch in self._real_batches() for coupon in batch.new_coupons]

    def _check(self) -> None:
        self._check_command()
        for user in self._users:
            self._check_user(user)
        for batch in self._real_batches():
            _check_version(batch, self._database.batches.get(batch.reference))
        for coupon in self._new_coupons():
            self._check_coupon(coupon)
        if isinstance(self._trigger, Delivery) and not self._database.owned(self._trigger):
            raise DeliverySuperseded(self._trigger.envelope.id, self._trigger.handler)

    def _check_user(self, user: User) -> None:
        users = self._database.users
        _check_version(user, users.get(user.id))
        if any(other.email == user.email for id_, other in users.items() if id_ != user.id):
            raise EmailAlreadyRegistered(user.email)

    def _check_coupon(self, coupon: Coupon) -> None:
        if coupon.user_id in self._database.coupons:
            raise CouponAlreadyAllocated(coupon.user_id)
        if coupon.code in self._database.coupons.values():
            raise ConcurrentUpdate


def _check_version(aggregate: Aggregate, stored: Aggregate | None) -> None:
    if aggregate.version != (stored.version if stored else 0):
        raise ConcurrentUpdate


class FakeOutbox:
    """The outbox on the fake database."""

    def __init__(self, database: FakeDatabase, policy: DeliveryPolicy) -> None:
        self._database = database
        self._policy = policy

    async def settle(self, delivery: Delivery) -> None:
        await self._database.step()
        if self._database.owned(delivery):
            self._database.finish(delivery)

    async def record_failure(self, failure: Failure) -> None:
        delivery, error = failure.delivery, _describe(failure.error)
        now, pause = self._database.clock, failure.retry_in
        fate = {"parked_at": now} if pause is None else {"due_at": now + pause}
        if not await self._update(delivery, last_error=error, **fate):
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)
        key = (delivery.envelope.id, delivery.handler)
        self._database.keep_failure(key, delivery.attempt, error)

    async def release(self, delivery: Delivery) -> None:
        await self._update(
            delivery,
            attempts=delivery.attempt - 1,
            token=delivery.token + 1,
            due_at=self._database.clock,
        )

    async def claim(self, limit: int, handlers: Collection[str]) -> list[Delivery]:
        held_since = current_time()
        await self._database.step()
        claims: list[Delivery] = []
        due = [item for item in self._pending(handlers) if item[1].due_at <= self._database.clock]
        live = [item for item in due if not item[1].replay]
        for key, row in sorted(live or due, key=lambda item: item[1].due_at):
            if row.held and len(claims) < limit:
                self._database.keep_failure(key, row.attempts, LEASE_LOST)
            if row.attempts >= self._policy.max_attempts:
                self._database.deliveries[key] = replace(
                    row,
                    parked_at=self._database.clock,
                    last_error="the last attempt did not finish",
                    held=False,
                )
            elif len(claims) < limit:
                leased = replace(
                    row,
                    attempts=row.attempts + 1,
                    token=row.token + 1,
                    due_at=self._database.clock + self._policy.lease,
                    held=True,
                )
                self._database.deliveries[key] = leased
                envelope = self._database.events[key[0]][1]
                claims.append(
                    Delivery(
                        envelope=envelope,
                        handler=key[1],
                        attempt=leased.attempts,
                        token=leased.token,
                        held_since=held_since,
                    )
                )
        return claims

    async def seconds_until_due(self, handlers: Collection[str]) -> float | None:
        await self._database.step()
        due = [row.due_at - self._database.clock for _, row in self._pending(handlers)]
        return min(due, default=None)

    def _pending(self, handlers: Collection[str]) -> list[tuple[Key, StoredDelivery]]:
        rows = self._database.deliveries.items()
        return [(key, row) for key, row in rows if row.parked_at is None and key[1] in handlers]

    async def _update(self, delivery: Delivery, **changes: float | str) -> bool:
        await self._database.step()
        if not self._database.owned(delivery):
            return False
        key = (delivery.envelope.id, delivery.handler)
        row = self._database.deliveries[key]
        self._database.deliveries[key] = replace(row, held=False, **changes)  # type: ignore[arg-type]
        return True


def _stored(aggregate: A) -> A:
    """Return a copy, as it is loaded the next time."""
    row = deepcopy(aggregate)
    row.version += 1
    return row


def _row(user_id: UserId, user: User, coupon: str | None) -> UserRow:
    """Make the row of the read model: what is called as in the user is copied."""
    copied = {f.name: getattr(user, f.name) for f in fields(UserRow) if hasattr(user, f.name)}
    plain = {name: getattr(value, "value", value) for name, value in copied.items()}
    return UserRow(user_id=user_id, coupon=coupon, **plain)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@dataclass
class FakePublisher:
    """Keeps the events it was given, or fails if it was told to."""

    published: list[Envelope] = field(default_factory=list)
    failure: Exception | None = None

    async def publish(self, envelope: Envelope) -> None:
        await checkpoint()
        if self.failure:
            raise self.failure
        self.published.append(envelope)


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
