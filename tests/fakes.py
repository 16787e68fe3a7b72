"""In-memory stand-ins for the adapters. They pass the same contract suites as the real ones."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import partial
from itertools import repeat
from typing import Any, TypeVar, cast

import anyio
from aftercommit.claims import (
    Claim,
    CommandWork,
    DeliveryPolicy,
    Failure,
    IdempotencyKey,
    WorkItem,
)
from aftercommit.envelopes import Envelope, EventId
from aftercommit.errors import ConcurrentUpdate, DeliverySuperseded, MessageAlreadyHandled, is_away
from aftercommit.unit_of_work import Subscribed
from anyio import current_time
from anyio.lowlevel import checkpoint

from allocation.domain.aggregate import Aggregate
from allocation.domain.coupons import (
    BatchReference,
    Coupon,
    CouponAlreadyAllocated,
    CouponBatch,
    CouponCode,
)
from allocation.domain.events import UserId
from allocation.domain.users import EmailAlreadyRegistered, User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.emails import Email
from allocation.service_layer.ports import Contact
from allocation.service_layer.read_model_types import UserRow
from allocation.service_layer.repositories import CouponBatches, Users
from allocation.service_layer.unit_of_work import UnitOfWork

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")
Key = tuple[EventId, str]
KeptFailure = tuple[int, str]  # attempt and error
LEASE_EXPIRED = "it had not finished when its lease ended"


@dataclass(frozen=True)
class StoredDelivery:
    """A row of the fake deliveries table, as far as it decides what comes next."""

    attempts: int
    token: int
    available_at: float
    unavailable_attempts: int = 0
    last_error: str | None = None
    parked_at: float | None = None
    held: bool = False  # by a process that works on it, or did when it died
    replay: bool = False


@dataclass
class FakeDatabase:
    """The tables, and a clock that stands still until a test moves it."""

    clock: float = 1_000_000.0
    tables: defaultdict[type, dict[Any, Any]] = field(default_factory=lambda: defaultdict(dict))
    registration_log: list[tuple[UserId, str]] = field(default_factory=list)
    user_view: dict[UserId, UserRow] = field(default_factory=dict)
    commands: list[CommandWork] = field(default_factory=list)
    events: dict[EventId, tuple[float, Envelope]] = field(default_factory=dict)
    deliveries: dict[Key, StoredDelivery] = field(default_factory=dict)  # what is owed
    finished: dict[Key, int] = field(default_factory=dict)  # the attempt that was the last
    settled_by: dict[Key, int] = field(default_factory=dict)  # the token of the claim that did
    failures: dict[Key, list[KeptFailure]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    coupon_lock: anyio.Lock = field(default_factory=anyio.Lock)
    schedule: Iterator[int] = field(default_factory=lambda: repeat(1))

    @property
    def users(self) -> dict[UserId, User]:
        """The users."""
        return self.tables[User]

    @property
    def coupon_batches(self) -> dict[BatchReference, CouponBatch]:
        """The coupon batches."""
        return self.tables[CouponBatch]

    @property
    def coupons(self) -> dict[UserId, Coupon]:
        """The coupons, by user."""
        return {coupon.user_id: coupon for coupon in self.tables[Coupon].values()}

    @property
    def owed(self) -> dict[Key, StoredDelivery]:
        """The deliveries that are not done, except those that are scheduled for later."""
        rows = self.deliveries.items()
        return {k: r for k, r in rows if r.attempts or r.available_at <= self.clock or r.parked_at}

    async def step(self) -> None:
        """Let other tasks run, for as many turns as the schedule says."""
        for _ in range(next(self.schedule, 1)):
            await checkpoint()

    def owned(self, delivery: Claim) -> bool:
        """Tell whether this claim is the newest one, and not parked."""
        row = self.deliveries.get((delivery.envelope.id, delivery.handler))
        return row is not None and row.token == delivery.token and row.parked_at is None

    def finish(self, delivery: Claim) -> None:
        """Mark a delivery as done."""
        key = (delivery.envelope.id, delivery.handler)
        del self.deliveries[key]
        self.finished[key] = delivery.attempt
        self.settled_by[key] = delivery.token

    def keep_failure(self, key: Key, attempt: int, error: str) -> None:
        """Keep the failure of an attempt, and of one delivery the last ten."""
        self.failures[key] = [*self.failures.get(key, []), (attempt, error)][-10:]


class FakeTransaction:
    """Works on copies, and holds what was added or loaded."""

    def __init__(self, database: FakeDatabase) -> None:
        self.database = database
        self.seen: list[object] = []
        self.is_over = False
        self._rows: dict[int, object] = {}  # by identity: what is stored by the commit

    def add(self, entity: object) -> None:
        self.check_open()
        self.seen.append(entity)
        self._rows[id(entity)] = entity

    async def get(self, entity: type[T], key: object) -> T | None:
        await self.database.step()
        return self.load(entity, key)

    def load(self, entity: type[T], key: object) -> T | None:
        self.check_open()
        for row in self.rows(entity):
            if isinstance(row, Aggregate) and row.key == key:
                return row
        if key not in self.database.tables[entity]:
            return None
        row = deepcopy(self.database.tables[entity][key])
        self.add(row)
        return cast("T", row)

    def rows(self, entity: type[T]) -> list[T]:
        """Return what was added or loaded of this type."""
        return [row for row in self._rows.values() if isinstance(row, entity)]

    def aggregates(self) -> list[Aggregate]:
        """Return all aggregates that were added or loaded."""
        return [row for row in self._rows.values() if isinstance(row, Aggregate)]

    def check_open(self) -> None:
        """Raise an error if the transaction has ended."""
        if self.is_over:
            raise RuntimeError("the transaction is over")


async def fake_find_contact(database: FakeDatabase, user_id: UserId) -> Contact:
    """Look a user up."""
    await database.step()
    if user := database.users.get(user_id):
        return Contact(email=str(user.email))
    raise UserNotFound(user_id)


async def fake_is_undeliverable(database: FakeDatabase, email: str) -> bool:
    """Look up whether an address is known not to exist."""
    await database.step()
    users = database.users.values()
    return any(user.email_undeliverable for user in users if user.email == EmailAddress(email))


async def fake_find_coupon_holder(database: FakeDatabase, code: str) -> Contact | None:
    """Look up who can redeem a coupon."""
    await database.step()
    coupon = database.tables[Coupon].get(CouponCode(code))
    if coupon and coupon.state == "allocated":
        return await fake_find_contact(database, coupon.user_id)
    return None


class FakeUsers(Users):
    """Finds by address what is stored."""

    _store: FakeTransaction

    async def find_by_email(self, emails: Collection[EmailAddress]) -> dict[EmailAddress, User]:
        await self._store.database.step()
        ids = [user.id for user in self._store.database.users.values() if user.email in emails]
        users = [self._store.load(User, user_id) for user_id in ids]
        return {user.email: user for user in users if user}


class FakeCouponBatches(CouponBatches):
    """Locks the batch it allocates from."""

    _store: FakeTransaction
    _locked = False

    async def next_available(self) -> CouponBatch:
        await self._lock()
        rows = {
            **self._store.database.coupon_batches,
            **{b.key: b for b in self._store.rows(CouponBatch)},
        }
        available = [reference for reference, row in rows.items() if row.remaining]
        told = [
            (row.exhaustion_notified_on or date.max, reference) for reference, row in rows.items()
        ]
        if available:
            reference = min(available, key=str)
        elif told:
            _, reference = max(told, key=lambda batch: batch[0])
        else:
            self._store.seen.append(none := CouponBatch.empty())
            return none
        batch = self._store.load(CouponBatch, reference)
        assert batch is not None
        return batch

    async def find(self, reference: BatchReference) -> CouponBatch | None:
        await self._lock()
        return await super().find(reference)

    async def _lock(self) -> None:
        if not self._locked:
            await self._store.database.coupon_lock.acquire()
            self._locked = True

    def unlock(self) -> None:
        if self._locked:
            self._locked = False
            self._store.database.coupon_lock.release()


class FakeRegistrationLog:
    """Keeps lines until the commit."""

    def __init__(self, database: FakeDatabase, transaction: FakeTransaction) -> None:
        self._database, self._transaction = database, transaction
        self.lines: list[tuple[UserId, str]] = []

    async def append(self, user_id: UserId, email: str) -> None:
        await self._database.step()
        self._transaction.check_open()
        self.lines.append((user_id, email))


class FakeUserProjection:
    """Notes whom to refresh; the commit then copies what is stored."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self.refreshed: set[UserId] = set()

    async def refresh(self, user_id: UserId) -> None:
        await self._database.step()
        self.refreshed.add(user_id)


class FakeUnitOfWorkScope:
    """The transaction of one attempt, on the fake database; its commit is one step, so atomic."""

    def __init__(self, database: FakeDatabase, policy: DeliveryPolicy, work: WorkItem) -> None:
        self._database, self._policy, self._work = database, policy, work
        self.store = FakeTransaction(database)
        self._coupon_batches = FakeCouponBatches(self.store)
        self._registration_log = FakeRegistrationLog(database, self.store)
        self._user_view = FakeUserProjection(database)
        self._subscribed: Subscribed = ()
        self.uow = UnitOfWork(
            self.store,
            users=FakeUsers(self.store),
            coupon_batches=self._coupon_batches,
            registration_log=self._registration_log,
            user_view=self._user_view,
        )

    async def write(self, subscribed: Subscribed) -> list[Claim]:
        await self._database.step()
        self._subscribed = subscribed
        self._check()
        claim = partial(Claim, attempt=1, leased_at=current_time())
        return [
            claim(envelope=event, handler=handler)
            for event, handlers in subscribed
            for handler, delay in handlers.items()
            if self._policy.dispatch == "inline"
            and not delay
            and handler not in self._database.paused
        ]

    async def commit(self) -> None:
        database = self._database
        self._check()
        self._settle()
        for aggregate in self.store.aggregates():
            database.tables[type(aggregate)][aggregate.key] = _stored(aggregate)
        database.registration_log.extend(self._registration_log.lines)
        for user_id in self._user_view.refreshed & database.users.keys():
            database.user_view[user_id] = _row(database, database.users[user_id])
        lease = self._policy.lease_seconds
        for envelope, handlers in self._subscribed:
            database.events[envelope.id] = (database.clock, envelope)
            for handler, delay in handlers.items():
                inline = self._policy.dispatch == "inline"
                first = inline and not delay and handler not in database.paused
                database.deliveries[envelope.id, handler] = StoredDelivery(
                    attempts=int(first),
                    token=1,
                    available_at=database.clock + (lease if first else delay),
                    held=first,
                )

    @property
    def _command(self) -> CommandWork | None:
        return self._work if isinstance(self._work, CommandWork) else None

    @property
    def _claim(self) -> Claim | None:
        return self._work if isinstance(self._work, Claim) else self._work.settles

    async def begin(self) -> None:
        await self._database.step()
        self._check_command()

    def close(self) -> None:
        self.store.is_over = True
        self._coupon_batches.unlock()

    def _settle(self) -> None:
        command = self._command
        if command and (command.origin.id is not None or self._has_written()):
            self._database.commands.append(command)
        if delivery := self._claim:
            self._database.finish(delivery)

    def _has_written(self) -> bool:
        written: list[object] = [
            self._subscribed,
            self._registration_log.lines,
            self._user_view.refreshed,
            self._claim,
        ]
        tables = self._database.tables
        return any(written) or any(
            _values(each) != _values(tables[type(each)].get(each.key))
            for each in self.store.aggregates()
        )

    def _check_command(self) -> None:
        command = self._command
        if command is None or command.origin.id is None:
            return
        if any(known.origin == command.origin for known in self._database.commands):
            raise MessageAlreadyHandled(command.origin.source, command.origin.id)

    def _check(self) -> None:
        self._check_command()
        for user in self.store.rows(User):
            self._check_user(user)
        for aggregate in self.store.aggregates():
            _check_version(aggregate, self._database.tables[type(aggregate)].get(aggregate.key))
        for coupon in self.store.rows(Coupon):
            self._check_coupon(coupon)
        delivery = self._claim
        if delivery and not self._database.owned(delivery):
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)

    def _check_user(self, user: User) -> None:
        others = (other for id_, other in self._database.users.items() if id_ != user.id)
        if any(other.email == user.email for other in others):
            raise EmailAlreadyRegistered(user.email)

    def _check_coupon(self, coupon: Coupon) -> None:
        other = self._database.coupons.get(coupon.user_id)
        if other and other.code != coupon.code:
            raise CouponAlreadyAllocated(coupon.user_id)


def _check_version(aggregate: Aggregate, stored: Aggregate | None) -> None:
    if aggregate.version != (stored.version if stored else 0):
        raise ConcurrentUpdate


@asynccontextmanager
async def open_fake_unit_of_work(
    database: FakeDatabase, policy: DeliveryPolicy, work: WorkItem
) -> AsyncIterator[FakeUnitOfWorkScope]:
    """Open a transaction on the fake database."""
    scope = FakeUnitOfWorkScope(database, policy, work)
    try:
        await scope.begin()
        yield scope
    finally:
        scope.close()


class FakeOutbox:
    """The outbox on the fake database."""

    def __init__(self, database: FakeDatabase, policy: DeliveryPolicy) -> None:
        self._database = database
        self._policy = policy

    async def settle(self, delivery: Claim) -> None:
        await self._database.step()
        key = (delivery.envelope.id, delivery.handler)
        if self._database.owned(delivery):
            self._database.finish(delivery)
        elif self._database.settled_by.get(key) != delivery.token:
            raise DeliverySuperseded(*key)

    async def record_failure(self, failure: Failure) -> None:
        delivery, error = failure.delivery, _describe(failure.error)
        now, pause = self._database.clock, failure.retry_in
        fate = {"parked_at": now} if pause is None else {"available_at": now + pause}
        if is_away(failure.error):
            fate["attempts"] = delivery.attempt - 1
            fate["unavailable_attempts"] = delivery.unavailable_attempts + 1
        if not await self._update(delivery, last_error=error, **fate):
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)
        key = (delivery.envelope.id, delivery.handler)
        self._database.keep_failure(key, delivery.attempt, error)

    async def release(self, claims: Collection[Claim]) -> None:
        for each in claims:
            row = self._database.deliveries.get((each.envelope.id, each.handler))
            due = row.available_at - self._policy.lease_seconds if row else 0.0
            attempts, token = each.attempt - 1, each.token + 1
            await self._update(each, attempts=attempts, token=token, available_at=due)

    async def is_paused(self, delivery: Claim) -> bool:
        return delivery.handler in self._database.paused

    async def claim(self, limit: int, handlers: Collection[str]) -> list[Claim]:
        leased_at = current_time()
        await self._database.step()
        claims: list[Claim] = []
        due = [
            item for item in self._pending(handlers) if item[1].available_at <= self._database.clock
        ]
        live = [item for item in due if not item[1].replay]
        for key, row in sorted(live or due, key=lambda item: item[1].available_at):
            if row.held and len(claims) < limit:
                self._database.keep_failure(key, row.attempts, LEASE_EXPIRED)
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
                    available_at=self._database.clock + self._policy.lease_seconds,
                    held=True,
                )
                self._database.deliveries[key] = leased
                envelope = self._database.events[key[0]][1]
                claims.append(
                    Claim(
                        envelope=envelope,
                        handler=key[1],
                        attempt=leased.attempts,
                        token=leased.token,
                        unavailable_attempts=leased.unavailable_attempts,
                        leased_at=leased_at,
                    )
                )
        return claims

    async def seconds_until_due(
        self, handlers: Collection[str], *, scheduled: bool = True
    ) -> float | None:
        await self._database.step()
        now = self._database.clock
        pauses = [
            row.available_at - now
            for key, row in self._pending(handlers)
            if scheduled
            or row.available_at <= now
            or row.attempts
            or row.unavailable_attempts
            or row.available_at - self._database.events[key[0]][0] < 1.0
        ]
        return min(pauses, default=None)

    def _pending(self, handlers: Collection[str]) -> list[tuple[Key, StoredDelivery]]:
        wanted = set(handlers) - self._database.paused
        rows = self._database.deliveries.items()
        return [(key, row) for key, row in rows if row.parked_at is None and key[1] in wanted]

    async def _update(self, delivery: Claim, **changes: float | str) -> bool:
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
    if isinstance(row, CouponBatch):
        row.new_coupons = ()
    return row


def _values(aggregate: Aggregate | None) -> dict[str, object]:
    values = vars(aggregate) if aggregate else {}
    return {name: value for name, value in values.items() if not name.startswith("_sa_")}


def _row(database: FakeDatabase, user: User) -> UserRow:
    """Make the row of the read model, by the rule of `read_model_types.py`."""
    joined: dict[str, object] = {"coupon": database.coupons.get(user.id)}
    shown: dict[str, Any] = {"user_id": user.id}
    for name in (each.name for each in fields(UserRow) if each.name != "user_id"):
        prefix, _, rest = name.partition("_")
        value = getattr(joined[prefix], rest, None) if prefix in joined else getattr(user, name)
        shown[name] = getattr(value, "value", value)
    return UserRow(**shown)


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
class FakeEmailSender:
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
