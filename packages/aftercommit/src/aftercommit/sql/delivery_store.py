"""Events and deliveries in the database: the outbox. For the rules see `claims.py`.

This is the way for each database and driver. With asyncpg, the claim and the completion of effects
are single statements of their own: `extensions/postgresql/asyncpg_delivery_store.sql`.

Every write of a claim filters on its fencing token. A claim goes by status, never by "later than
the last one seen", so an event whose transaction commits late is not skipped.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import product
from typing import Any

import sqlalchemy as sa
from anyio import CancelScope, current_time
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.claims import Claim, Failure, NewDelivery
from aftercommit.codec import MAX_EVENT_LENGTH, Codec
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.envelopes import Envelope
from aftercommit.errors import DeliverySuperseded, InvalidMessage, InvalidPayload, is_away
from aftercommit.sql import claim_ends, delivery_states
from aftercommit.sql.claim_ends import OF_THIS_CLAIM, Batches, ClaimKey, describe
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSED, PAUSED_HANDLERS, is_scheduled
from aftercommit.sql.known_pauses import PAUSES_SECONDS, KnownPauses
from aftercommit.sql.lock_order import change_in_order
from aftercommit.sql.new_events import FirstAttempts, NewEvents
from aftercommit.sql.ordered_completion import OrderedDeliveries, claim_of_row
from aftercommit.sql.tables import CLAIMABLE, RAW_EVENTS, deliveries, events
from aftercommit.sql.transaction import Transaction
from aftercommit.sql.writer_queue import Writer

LAST_ATTEMPT_UNFINISHED = "the last attempt did not finish"
TOO_LONG = describe(InvalidPayload("an event", f"is longer than {MAX_EVENT_LENGTH}"))
# by others, at the moment of a claim; as text, like the limit
MOST_LOCKED: sa.ColumnElement[int] = sa.literal_column("100", sa.Integer)
HANDLERS: sa.BindParameter[str] = sa.bindparam("handlers", expanding=True)
SCHEDULED: sa.BindParameter[bool] = sa.bindparam("scheduled", type_=sa.Boolean)

Claimed = tuple[Mapping[Any, Any], Mapping[Any, Any]]  # the rows of a delivery and of its event
Which = sa.ColumnElement[bool]

logger = logging.getLogger(__name__)


def new_delivery_store(database: Database, policy: DeliveryPolicy) -> "SqlAlchemyDeliveryStore":
    """Return what stores deliveries in a database: what fits all, or has been made for its driver.

    >>> import anyio
    >>> from aftercommit import new_delivery_store
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(settings := APP.load({})) as application:
    ...         store = new_delivery_store(application.database, settings)
    ...         return await store.claim(10, ["confirm_order"])
    >>> anyio.run(main)
    []
    """
    return (database.backend.delivery_store or SqlAlchemyDeliveryStore)(database, policy)


class SqlAlchemyDeliveryStore:
    """The deliveries in a database. Its statements are made once: that costs as much as sending."""

    def __init__(self, database: Database, policy: DeliveryPolicy) -> None:
        self.database = database
        self._policy = policy
        now, lease = database.clock, policy.lease_seconds
        done, released = delivery_states.done(now, lease), delivery_states.released(lease)
        self._complete_this = done.update(OF_THIS_CLAIM)
        self._completions = Batches(database, delivery_states.done(now, lease, again=True))
        self._releases = Batches(database, released, "released")
        self._interruptions = Batches(database, released, "interrupted")
        self._new_events = NewEvents(database.backend, now, in_sessions=False)
        self._pauses = KnownPauses(database)
        self._ordered = cache(partial(OrderedDeliveries, database, policy))  # if there are any
        self._seconds_until_due = cache(self._look)
        self._claim_statement = cache(partial(claim_statement, database, policy))

    async def store(
        self, transaction: Transaction, envelopes: Sequence[Envelope], new: Sequence[NewDelivery]
    ) -> Sequence[Claim]:
        """Insert events, and their deliveries, in the caller's transaction.

        Return the claims on them. What is due later or paused is left to workers.

        All INSERTs are one call of the driver: it is shielded as a whole, and its time limit is for
        all of them together. An error of one is translated, and fails the transaction, as in
        `Transaction.execute`; and the server has its limits for each of them.
        """
        if not envelopes:
            return []
        rows = [self.database.codec.to_row(envelope) for envelope in envelopes]
        first_attempts = None
        if self._policy.dispatch == "inline":
            first_attempts = FirstAttempts(
                owner=self.database.process,
                lease_seconds=self._policy.lease_seconds,
                paused=await self._pauses.read(transaction),
                leased_at=current_time(),
            )
        transaction.has_written = True
        claims, firsts, _ = await transaction.run_sync(
            lambda connection: self._new_events.store(connection, rows, new, first_attempts)
        )
        if firsts and first_attempts:
            ours = sorted(each for each in firsts if each.handler not in first_attempts.paused)
            stored = {envelope.id: envelope for envelope in envelopes}
            claims = [*claims, *await self._ordered().claim(transaction, ours, stored)]
        if not claims and (firsts or any(not each.lane for each in new)):
            transaction.notify_workers()
        return claims

    async def ensure_not_paused(self, claim: Claim) -> None:
        if current_time() - claim.leased_at > PAUSES_SECONDS:  # it was not read with the claim
            await self._pauses.ensure_not_paused(claim.handler)

    async def complete_in(
        self, transaction: Transaction, claim: Claim, *, is_free: bool = True
    ) -> Sequence[Claim]:
        """Mark a delivery as done, in the caller's transaction; for what it returns see `complete`.

        Its lane, if it has one, `is_free` if the caller has locked it.

        :raises DeliverySuperseded: if it is no longer the caller's: the caller must roll back
        """
        if await transaction.execute_dml(self._complete_this, ClaimKey.of(claim).params) != 1:
            raise DeliverySuperseded(claim.envelope.id, claim.handler)
        if not claim.lane:
            return ()
        return await self._ordered().go_on(transaction, claim, is_free=is_free)

    async def complete(self, claim: Claim, *, follow: bool = True) -> Sequence[Claim]:
        if claim.lane:
            return await self._ordered().complete(claim, follow=follow)
        if not await self._completions.write([ClaimKey.of(claim)]):
            raise DeliverySuperseded(claim.envelope.id, claim.handler)
        return ()

    async def record_failure(self, failure: Failure) -> None:
        claim, error, away = failure.delivery, describe(failure.error), is_away(failure.error)
        now, key = self.database.clock, ClaimKey.of(claim)
        if failure.retry_in is None:
            end = delivery_states.parked(now, error, is_away=away)
        else:
            end = delivery_states.retrying(now, error, failure.retry_in, is_away=away)
        failed = change_in_order(self.database, end, OF_THIS_CLAIM, skip_locked=True)
        async with self.database.write_transaction(Writer.LAST) as transaction:
            if await transaction.execute_dml(failed, key.params) != 1:
                raise await claim_ends.why_missed(transaction, self.database, claim, end)
            what = {"attempt": claim.attempt, "owner": self.database.process, "error": error}
            await claim_ends.record(transaction, now, "failed", [{**key._asdict(), **what}])
            await transaction.commit()

    async def release(self, claims: Collection[Claim], *, interrupted: bool = False) -> None:
        batches = self._interruptions if interrupted else self._releases
        await batches.write([ClaimKey.of(each) for each in claims])

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        """Claim what is due, record the leases that were lost, and read the events as they are.

        All in one transaction: a claim of which its process learns nothing counts as an attempt.
        """
        if not handlers:
            return ()
        asked = {"limit": limit, **handler_params(handlers)}
        async with self.database.write_transaction() as transaction:
            leased_at = current_time()  # not before: it may have waited in line for long
            for replay in (False, True):  # what is replayed waits for all else
                statement = self._claim_statement(len(handlers), replay)
                if rows := (await transaction.execute(statement, asked)).mappings().all():
                    break
            lost = [claim_ends.expired(row) for row in rows if row["previous_owner"]]
            await claim_ends.record(transaction, self.database.clock, "lease_expired", lost)
            claimed = [row for row in rows if row["parked_at"] is None]
            ids = {"ids": list({row["event_id"] for row in claimed})}
            found = (await transaction.execute(RAW_EVENTS, ids)).mappings() if claimed else ()
            stored = {event["id"]: event for event in found}
            await transaction.commit()
        log_taken_over(rows)
        for row in (row for row in rows if row["parked_at"] is not None):
            log_parked(row, row["last_error"])
        return await self._readable([(row, stored[row["event_id"]]) for row in claimed], leased_at)

    async def _readable(self, claimed: Sequence[Claimed], leased_at: float) -> Sequence[Claim]:
        """Return the claims whose events can be read; park the others, or their leases end."""
        claims, now = list[Claim](), self.database.clock
        with CancelScope(shield=True):  # as from the commit on, or nobody would know of the leases
            for row, event in claimed:
                try:
                    envelope = self.database.codec.from_row(event)
                except InvalidMessage as problem:
                    error = describe(problem)
                else:
                    claims.append(claim_of_row(row, envelope, leased_at))
                    continue
                key = ClaimKey(row["event_id"], row["handler"], row["token"])
                parked = delivery_states.unreadable(now, error).update(OF_THIS_CLAIM)
                try:
                    async with self.database.write_transaction(Writer.LAST) as transaction:
                        await transaction.execute_dml(parked, key.params)
                        await transaction.commit()
                except Exception as storing_error:  # the others can be run all the same
                    logger.error("what cannot be read could not be parked: %s", storing_error)
                else:
                    log_parked(row, error)
        return claims

    async def seconds_until_due(
        self, handlers: Collection[str], *, scheduled: bool = True
    ) -> float | None:
        asked = {**handler_params(handlers), "scheduled": scheduled}
        async with self.database.read_transaction() as transaction:
            found = await transaction.execute(self._seconds_until_due(len(handlers)), asked)
        return min(found.scalars(), default=None)

    def _look(self, count: int) -> sa.CompoundSelect[Any]:
        codec, now = self.database.codec, self.database.clock
        pause, which = deliveries.c.available_at - now, sa.or_(SCHEDULED, ~is_scheduled(now))
        live, replayed = (first_of_each(codec, count, r, pause, which=which) for r in (False, True))
        return sa.union_all(*live, *replayed)


def log_taken_over(rows: Iterable[Mapping[Any, Any]]) -> None:
    """Name the processes whose leases have expired, and what a claim has taken over from each."""
    lost = [(row["previous_owner"], row["handler"]) for row in rows if row["previous_owner"]]
    for (owner, handler), count in Counter(lost).items():
        logger.warning(
            "taken over from %s, whose lease has expired: %s (%d)", owner, handler, count
        )


def log_parked(row: Mapping[Any, Any], error: str) -> None:
    """Name a delivery that a claim has parked."""
    logger.warning("%s parked on event %s: %s", row["handler"], row["event_id"], error)


def claim_statement(
    database: Database, policy: DeliveryPolicy, count: int, replay: bool
) -> ReturningUpdate[Any]:
    """Return the statement that claims what is due for so many handlers, of replays or all else.

    What is due is read by parts, all of them at the same time, each in the order of its index and
    up to the limit; in a CTE, as a subquery may be executed again for each row of the outer table.
    """
    row, codec, now = deliveries.c, database.codec, database.clock
    key = row.event_id, row.handler
    claim = delivery_states.claimed(now, database.process, policy.lease_seconds)
    problem = sa.case(
        (row.attempts >= policy.max_attempts, LAST_ATTEMPT_UNFINISHED),
        (sa.func.length(events.c.data) > MAX_EVENT_LENGTH, TOO_LONG),
    ).label("problem")
    wanted = claim.when, is_readable(codec)
    # a literal, or PostgreSQL would not keep a plan for so few rows
    limit = sa.bindparam("limit", type_=sa.Integer, literal_execute=True)
    if database.backend.single_writer:
        parts = _of_each(codec, count, replay, *key, row.available_at, problem)
        all_due = sa.union_all(*(each.join(events).where(*wanted) for each in parts))
        due = all_due.order_by("available_at").limit(limit).cte("due")
    else:  # what is read in parts cannot be locked there, and may have changed until it is
        some, by_time = limit + MOST_LOCKED, row.available_at
        parts = _of_each(codec, count, replay, *key, by_time)
        firsts = (part.join(events).where(*wanted).order_by(by_time).limit(some) for part in parts)
        each = sa.union_all(*firsts).subquery().c
        first = sa.select(each.event_id, each.handler).order_by(each.available_at)
        found = first.limit(some).cte("found")
        locked = (
            sa.select(*key, problem)
            .join_from(deliveries, events)
            .where(row.event_id == found.c.event_id, row.handler == found.c.handler, claim.when)
            .with_for_update(of=deliveries, skip_locked=True)
            .lateral("locked")
        )
        due = sa.select(locked).select_from(found.join(locked, sa.true())).limit(limit).cte("due")
    claim = delivery_states.claimed_or_parked(claim, now, due.c.problem)
    this = row.event_id == due.c.event_id, row.handler == due.c.handler
    return claim.update_found(*this).returning(deliveries)


def _of_each(
    codec: Codec[object], count: int, replay: bool, *columns: sa.ColumnElement[Any]
) -> list[sa.Select[Any]]:
    """Select what is pending for each of so many handlers, if that handler is not paused.

    Each select follows a part of the index of its own, by due time. What is pending for others, or
    paused, or of later versions, is not even looked at, however much it is.
    """
    row, selects = deliveries.c, list[sa.Select[Any]]()
    for number, version in product(range(count), range(1, latest_version(codec) + 1)):
        name = sa.bindparam(f"handler_{number}", type_=sa.String)
        # nothing equals what a paused one is; as a condition, SQLite would ask for each row
        unpaused = sa.select(name).where(name.not_in(PAUSED_HANDLERS)).scalar_subquery()
        this = row.handler == unpaused, row.schema_version == version, row.replay == replay
        selects.append(sa.select(*columns).where(CLAIMABLE, *this))
    return selects


def latest_version(codec: Codec[object]) -> int:
    """Return the latest schema version of an event that this process can read."""
    return max(codec.versions.values(), default=1)


def is_readable(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """Other types, and later versions, are for newer processes."""
    row, versions = events.c, codec.versions.items()
    known = [sa.and_(row.type == name, row.schema_version <= v) for name, v in versions]
    return sa.or_(sa.false(), *known)


def handler_params(handlers: Collection[str]) -> dict[str, str]:
    """Return the parameters of a statement that is made for so many handlers."""
    return {f"handler_{number}": handler for number, handler in enumerate(handlers)}


def claimable_here(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """What this process can do for `HANDLERS`, as a condition of a row."""
    return sa.and_(deliveries.c.handler.in_(HANDLERS), ~PAUSED, is_readable(codec))


def first_of_each(
    codec: Codec[object], count: int, replay: bool, *columns: sa.ColumnElement[Any], which: Which
) -> list[sa.Select[Any]]:
    """Select the longest due of each of so many handlers that can be tried here: for a union."""
    wanted = is_readable(codec), which
    firsts = [
        each.join(events).where(*wanted).order_by(deliveries.c.available_at).limit(1).subquery()
        for each in _of_each(codec, count, replay, *columns)
    ]
    return [sa.select(first) for first in firsts] or [sa.select(*columns).where(sa.false())]
