"""The outbox: events and deliveries in the database. For the rules see `claims.py`.

Every write of a claim filters on its fencing token. A claim goes by status, never by "later than
the last one seen", so an event whose transaction commits late is not skipped.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from anyio import CancelScope, current_time
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.claims import Claim, DeliveryPolicy, Failure, NewDelivery
from aftercommit.envelopes import Envelope
from aftercommit.errors import DeliverySuperseded, InvalidMessage, is_away
from aftercommit.sql import failure_history
from aftercommit.sql.batch_settlement import (
    NOT_PARKED,
    THIS_WITH_VALID_TOKEN,
    WITH_VALID_TOKEN,
    Batches,
    ClaimKey,
    Releases,
    change_of_this,
    claim_of,
    claim_params,
    done,
    settlement,
    why_missed,
)
from aftercommit.sql.claim_statements import (
    RAW_EVENTS,
    claim_statement,
    first_of_each,
    handler_params,
)
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import is_scheduled
from aftercommit.sql.new_events import FirstAttempts, NewEvents
from aftercommit.sql.ordered_deliveries import OrderedDeliveries, claim_of_row
from aftercommit.sql.pauses import PAUSES_SECONDS, KnownPauses
from aftercommit.sql.tables import PENDING, deliveries
from aftercommit.sql.transaction import Transaction
from aftercommit.sql.write_line import Writer

Claimed = tuple[Mapping[Any, Any], Mapping[Any, Any]]  # the rows of a delivery and of its event

SCHEDULED: sa.BindParameter[bool] = sa.bindparam("scheduled", type_=sa.Boolean)

logger = logging.getLogger(__name__)


def new_outbox(database: Database, policy: DeliveryPolicy) -> "SqlAlchemyOutbox":
    """Return the outbox of a database: the one that fits all, or one of its own.

    >>> import anyio
    >>> from aftercommit import new_outbox
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(settings := APP.load({})) as application:
    ...         return await new_outbox(application.database, settings).claim(10, ["confirm_order"])
    >>> anyio.run(main)
    []
    """
    return (database.backend.outbox or SqlAlchemyOutbox)(database, policy)


class SqlAlchemyOutbox:
    """The outbox in a database. Its statements are made once: that costs as much as sending."""

    def __init__(self, database: Database, policy: DeliveryPolicy) -> None:
        self.database = database
        self._policy = policy
        self._settlement = settlement(database, policy)
        self._settling = Batches(database, self._settle_all, NOT_PARKED)
        self._releases = Releases(database, policy, "released")
        self._interruptions = Releases(database, policy, "interrupted")
        self._new_events = NewEvents(database.backend, database.clock, in_sessions=False)
        self._pauses = KnownPauses(database)
        self._settle_one = THIS_WITH_VALID_TOKEN.values(**done(database, policy))
        self._ordered = cache(partial(OrderedDeliveries, database, policy))  # if there are any
        self._seconds_until_due, self._claims = cache(self._look), cache(self._claim_statements)

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

    async def ensure_not_paused(self, delivery: Claim) -> None:
        if current_time() - delivery.leased_at > PAUSES_SECONDS:  # it was not read with the claim
            await self._pauses.ensure_not_paused(delivery.handler)

    async def settle_in(
        self, transaction: Transaction, delivery: Claim, *, is_free: bool = True
    ) -> Sequence[Claim]:
        """Mark a delivery as done, in the caller's transaction; for what it returns see `settle`.

        Its lane, if it has one, `is_free` if the caller has locked it.

        :raises DeliverySuperseded: if it is no longer the caller's: the caller must roll back
        """
        if await transaction.execute_dml(self._settle_one, claim_params(delivery)) != 1:
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)
        if not delivery.lane:
            return ()
        return await self._ordered().go_on(transaction, delivery, is_free=is_free)

    async def settle(self, delivery: Claim, *, follow: bool = True) -> Sequence[Claim]:
        if delivery.lane:
            return await self._ordered().settle(delivery, follow=follow)
        if not await self._settling.write([claim_of(delivery)]):
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)
        return ()

    async def _settle_all(self, claims: Sequence[ClaimKey]) -> Collection[ClaimKey]:
        async with self.database.write_transaction(Writer.LAST) as transaction:
            rows = (await transaction.execute(self._settlement, {"claims": claims})).all()
            await transaction.commit()
        return [ClaimKey._make(row) for row in rows]

    async def record_failure(self, failure: Failure) -> None:
        delivery, error = failure.delivery, failure_history.describe(failure.error)
        now, pause, columns = self.database.clock, failure.retry_in, deliveries.c
        fate = {"parked_at": now} if pause is None else {"available_at": now + pause}
        if is_away(failure.error):
            fate["attempts"] = columns.attempts - 1
            fate["unavailable_attempts"] = columns.unavailable_attempts + 1
        failed = change_of_this(self.database, owner=None, last_error=error, **fate)
        async with self.database.write_transaction(Writer.LAST) as transaction:
            if await transaction.execute_dml(failed, claim_params(delivery)) != 1:
                raise await why_missed(transaction, self.database, delivery, PENDING)
            key = claim_of(delivery)._asdict()
            what = {"attempt": delivery.attempt, "owner": self.database.process, "error": error}
            await failure_history.record(transaction, now, "failed", [key | what])
            await transaction.commit()

    async def release(self, claims: Collection[Claim], *, interrupted: bool = False) -> None:
        await (self._interruptions if interrupted else self._releases).release(claims)

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        runnable = list[Claim]()
        if not handlers:
            return runnable
        leased_at, claimed = await self._take_leases(limit, handlers)
        with CancelScope(shield=True):  # as from the commit on, or nobody would know of the leases
            for row, event in claimed:
                try:
                    envelope = self.database.codec.from_row(event)
                except InvalidMessage as error:
                    await self._park(row, error)
                    continue
                runnable.append(claim_of_row(row, envelope, leased_at))
        return runnable

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

    def _claim_statements(self, count: int) -> Sequence[ReturningUpdate[Any]]:
        this = count, self.database, self._policy
        return [claim_statement(replay, *this) for replay in (False, True)]

    async def _take_leases(
        self, limit: int, handlers: Collection[str]
    ) -> tuple[float, Sequence[Claimed]]:
        """Claim what is due, record the leases that were lost, and read the events as they are.

        All in one transaction: a claim of which its process learns nothing counts as an attempt.
        Return when the leases began, too.
        """
        asked = {"limit": limit, **handler_params(handlers)}
        async with self.database.write_transaction() as transaction:
            leased_at = current_time()  # not before: it may have waited in line for long
            live, replayed = self._claims(len(handlers))
            rows = (await transaction.execute(live, asked)).mappings().all()
            rows = rows or (await transaction.execute(replayed, asked)).mappings().all()
            lost = [failure_history.expired(row) for row in rows if row["previous_owner"]]
            await failure_history.record(transaction, self.database.clock, "lease_expired", lost)
            claimed = [row for row in rows if row["parked_at"] is None]
            ids = {"ids": list({row["event_id"] for row in claimed})}
            found = (await transaction.execute(RAW_EVENTS, ids)).mappings() if claimed else ()
            stored = {event["id"]: event for event in found}
            await transaction.commit()
        for row in (row for row in rows if row["parked_at"] is not None):
            log_parked(row, row["last_error"])
        return leased_at, [(row, stored[row["event_id"]]) for row in claimed]

    async def _park(self, row: Mapping[Any, Any], problem: InvalidMessage) -> None:
        """Park what was claimed and cannot be read; if that fails, its lease ends by itself."""
        this = ClaimKey(row["event_id"], row["handler"], row["token"])
        error = failure_history.describe(problem)
        parked = WITH_VALID_TOKEN.values(
            parked_at=self.database.clock,
            last_error=error,
            owner=None,
            attempts=deliveries.c.attempts - 1,
        )
        try:
            async with self.database.write_transaction(Writer.LAST) as transaction:
                await transaction.execute_dml(parked, {"claims": [this]})
                await transaction.commit()
        except Exception as storing_error:  # the others of this claim can be run all the same
            logger.error("what cannot be read could not be parked: %s", storing_error)
        else:
            log_parked(row, error)


def log_parked(row: Mapping[Any, Any], error: str) -> None:
    """Name a delivery that a claim has parked."""
    logger.warning("%s parked on event %s: %s", row["handler"], row["event_id"], error)
