"""Events and deliveries in the database: the outbox. For the rules see `claims.py`.

This works for each database and driver. With asyncpg, a claim, the completion of effects, and the
writes of a commit are single statements: `extensions/postgresql/asyncpg_delivery_store.sql`.

Every write of a claim filters on its fencing token. Claims look at the status, never for "later
than the last one seen", so an event whose transaction commits late is not skipped.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from typing import Any

import sqlalchemy as sa
from anyio import CancelScope, current_time

from aftercommit.claims import Claim, CommandWork, Failure, NewDelivery
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.database.writer_queue import Writer
from aftercommit.deliveries import ends, states
from aftercommit.deliveries.claim_statement import (
    MOST_PARTS,
    claim_statement,
    first_of_each,
    handler_params,
    is_ours,
    latest_version,
    union_of,
)
from aftercommit.deliveries.ends import OF_THIS_CLAIM, Batches, ClaimKey, describe
from aftercommit.deliveries.inbox import record_command
from aftercommit.deliveries.limit_uses import LimitUses
from aftercommit.deliveries.lock_order import change_in_order
from aftercommit.deliveries.new_events import FirstAttempts, NewEvents, Stored, WriteAtOnce, rows_of
from aftercommit.deliveries.ordered_completion import OrderedDeliveries, claim_of_row
from aftercommit.deliveries.pauses import PAUSES_SECONDS, KnownPauses
from aftercommit.deliveries.states import is_scheduled
from aftercommit.deliveries.tables import RAW_EVENTS, deliveries
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.envelopes import Envelope
from aftercommit.errors import DeliverySuperseded, InvalidMessage
from aftercommit.limits import NO_LIMITS, Limit, Limits, claimed_together

SCHEDULED: sa.BindParameter[bool] = sa.bindparam("scheduled", type_=sa.Boolean)

Claimed = tuple[Mapping[Any, Any], Mapping[Any, Any]]  # the rows of a delivery and of its event

logger = logging.getLogger(__name__)


def new_delivery_store(
    database: Database,
    policy: DeliveryPolicy,
    limits: Limits = NO_LIMITS,
    instead: Collection[str] = (),
) -> "SqlAlchemyDeliveryStore":
    """Return the delivery store of a database: the general one, or the one for its driver.

    It claims only what the `limits` of handlers allow, and gives up those that have an `instead`:
    see `Handlers`.

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
    made = database.backend.delivery_store or SqlAlchemyDeliveryStore
    return made(database, policy, limits, instead)


class SqlAlchemyDeliveryStore:
    """The deliveries in a database.

    Statements are prepared once: it costs as much as sending them.
    """

    _write_at_once: WriteAtOnce | None = None  # a database's replacement for several statements

    def __init__(
        self,
        database: Database,
        policy: DeliveryPolicy,
        limits: Limits = NO_LIMITS,
        instead: Collection[str] = (),
    ) -> None:
        self.database, self.limits, self.limit_uses = database, limits, LimitUses(database)
        self._policy, self.instead = policy, instead
        self.most_handlers = max(1, MOST_PARTS // latest_version(database.codec))
        now, lease = database.clock, policy.lease_seconds
        done, released = states.done(now, lease), states.released(lease)
        self._complete_this = done.update(OF_THIS_CLAIM)
        self._completions = Batches(database, states.done(now, lease, again=True))
        self._releases = Batches(database, released, "released")
        self._interruptions = Batches(database, released, "interrupted")
        self._new_events = NewEvents(database.backend, now, in_sessions=False)
        self._claimed = states.new_and_claimed(database.process)
        self._pauses = KnownPauses(database)
        ordered = partial(OrderedDeliveries, database, policy, not_here=limits.keys())
        self._ordered = cache(ordered)  # if there are any
        self._seconds_until_due = cache(self._look)
        self._claim_statement = cache(partial(claim_statement, database, policy, instead=instead))

    async def store(
        self,
        transaction: Transaction,
        envelopes: Sequence[Envelope],
        new: Sequence[NewDelivery],
        *,
        completes: Claim | None = None,
        is_free: bool = True,
        command: CommandWork | None = None,
    ) -> Sequence[Claim]:
        """Write what a unit of work has caused, in the caller's transaction; return the claims.

        This means events with deliveries, the end of the delivery that it `completes`, and its
        `command`. Delayed or paused deliveries are left to workers. All INSERTs of events and
        deliveries are one driver call, which is shielded as a whole and has one time limit. An
        error is translated, and fails the transaction, as in `Transaction.execute`.
        """
        claims: Sequence[Claim] = ()
        if envelopes:
            rows = [self.database.codec.to_row(envelope) for envelope in envelopes]
            first_attempts = None
            if self._policy.dispatch == "inline":
                not_to = {*await self._pauses.read(transaction), *self.limits}
                lease = self._policy.lease_seconds
                first_attempts = FirstAttempts(self._claimed, lease, current_time(), not_to)
            transaction.has_written = True
            if self._write_at_once and not any(each.lane for each in (*new, completes) if each):
                its, _, claimed = rows_of(new, first_attempts)
                await self._write_at_once(transaction, rows, its, completes, command)
                stored, completes, command = Stored(claimed), None, None
            else:
                stored = await transaction.run_sync(
                    lambda connection: self._new_events.store(connection, rows, new, first_attempts)
                )
            claims, firsts, _ = stored
            if firsts and first_attempts:
                ours = sorted(each for each in firsts if each.handler not in first_attempts.not_to)
                by_id = {envelope.id: envelope for envelope in envelopes}
                claims = [*claims, *await self._ordered().claim(transaction, ours, by_id)]
            is_left = not claims and (firsts or any(not each.lane for each in new))
            if is_left or any(each.handler in self.limits and not each.delay for each in new):
                transaction.notify_workers()
        if completes:
            claims = [*claims, *await self.complete_in(transaction, completes, is_free=is_free)]
        if command:
            await record_command(transaction, self.database.clock, command)
        return claims

    async def ensure_not_paused(self, claim: Claim) -> None:
        if current_time() - claim.leased_at > PAUSES_SECONDS:  # it was not read with the claim
            await self._pauses.ensure_not_paused(claim.handler)

    async def complete_in(
        self, transaction: Transaction, claim: Claim, *, is_free: bool = True
    ) -> Sequence[Claim]:
        """Mark a delivery as done, in the caller's transaction; for the result see `complete`.

        `is_free` says that the caller has locked its lane, if it has one.

        :raises DeliverySuperseded: if it is no longer the caller's, who then must roll back
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
        claim, now = failure.delivery, self.database.clock
        key, error = ClaimKey.of(claim), describe(failure.error)
        end = ends.after_failure(failure, now, may_give_up=claim.handler in self.instead)
        failed = change_in_order(self.database, end, OF_THIS_CLAIM, skip_locked=True)
        async with self.database.write_transaction(Writer.LAST) as transaction:
            if await transaction.execute_dml(failed, key.params) != 1:
                await ends.ensure_failure_stored(transaction, self.database, claim, end)
                return
            what = {"attempt": claim.attempt, "owner": self.database.process, "error": error}
            await ends.record(transaction, now, "failed", [{**key._asdict(), **what}])
            if failure.given_up:
                transaction.notify_workers()
            await transaction.commit()

    async def release(self, claims: Collection[Claim], *, interrupted: bool = False) -> None:
        batches = self._interruptions if interrupted else self._releases
        await batches.write([ClaimKey.of(each) for each in claims])

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        claims: Sequence[Claim] = ()
        for some in self._together(handlers):
            if claims := await self._claim(limit, some, self.limits.get(some[0])):
                break
        return claims

    def _together(self, handlers: Collection[str]) -> Sequence[Sequence[str]]:
        return claimed_together(handlers, self.limits, most=self.most_handlers)

    async def _claim(
        self, most: int, handlers: Sequence[str], limit: Limit | None
    ) -> Sequence[Claim]:
        """Claim deliveries, record lost leases, and read the events.

        It is one transaction: a claim counts as an attempt even if the process never learns of it.
        """
        asked: dict[str, Any] = {"limit": most, **handler_params(handlers)}
        async with self.database.write_transaction() as transaction:
            leased_at = current_time()  # not before: it may have waited in line for long
            use = await self.limit_uses.lock(transaction, limit) if limit else None
            if limit and (use is None or use.permits < 1):
                return []
            if limit and use:  # the claim has the time for which its permits were computed
                asked |= {"of_limit": limit.name, "now": use.now}
                asked["limit"] = int(min(most, use.permits))
            for replay in (False, True):  # replayed deliveries wait for all others
                statement = self._claim_statement(len(handlers), replay, is_limited=bool(limit))
                if rows := (await transaction.execute(statement, asked)).mappings().all():
                    break
            lost = [ends.expired(row) for row in rows if row["previous_owner"]]
            await ends.record(transaction, self.database.clock, "lease_expired", lost)
            claimed = [row for row in rows if row["parked_at"] is None]
            if use and claimed:
                await self.limit_uses.add(transaction, use, len(claimed))
            ids = {"ids": list({row["event_id"] for row in claimed})}
            found = (await transaction.execute(RAW_EVENTS, ids)).mappings() if claimed else ()
            stored = {event["id"]: event for event in found}
            await transaction.commit()
        ends.log_taken_over(rows)
        for row in (row for row in rows if row["parked_at"] is not None):
            ends.log_parked(row, row["last_error"])
        return await self._readable([(row, stored[row["event_id"]]) for row in claimed], leased_at)

    async def _readable(self, claimed: Sequence[Claimed], leased_at: float) -> Sequence[Claim]:
        """Return the claims with readable events; park the others, or their leases end."""
        claims, now = list[Claim](), self.database.clock
        with CancelScope(shield=True):  # as after a commit, or nobody would know of the leases
            for row, event in claimed:
                try:
                    envelope = self.database.codec.from_row(event)
                except InvalidMessage as problem:
                    error = describe(problem)
                else:
                    claims.append(claim_of_row(row, envelope, leased_at))
                    continue
                key = ClaimKey(row["event_id"], row["handler"], row["token"])
                parked = states.unreadable(now, error).update(OF_THIS_CLAIM)
                try:
                    async with self.database.write_transaction(Writer.LAST) as transaction:
                        await transaction.execute_dml(parked, key.params)
                        await transaction.commit()
                except Exception as storing_error:  # the others can be run nevertheless
                    logger.error("unreadable deliveries could not be parked: %s", storing_error)
                else:
                    ends.log_parked(row, error)
        return claims

    async def seconds_until_due(
        self, handlers: Collection[str], *, scheduled: bool = True
    ) -> float | None:
        due = list[float]()
        async with self.database.read_transaction() as transaction:
            for some in self._together(handlers):
                asked = {**handler_params(some), "scheduled": scheduled}
                found = await transaction.execute(self._seconds_until_due(len(some)), asked)
                firsts = found.scalars().all()
                if firsts and (limit := self.limits.get(some[0])):
                    use = await self.limit_uses.read(transaction, limit)
                    wait = use.permit_at - use.now if use.permits < 1 else 0.0
                    firsts = [max(min(firsts), wait)] if wait else firsts
                due += firsts
        return min(due, default=None)

    def _look(self, count: int) -> sa.CompoundSelect[Any]:
        codec, now = self.database.codec, self.database.clock
        pause, which = deliveries.c.available_at - now, sa.or_(SCHEDULED, ~is_scheduled(now))
        which = sa.and_(which, is_ours(self.instead))
        live, replayed = (first_of_each(codec, count, r, pause, which=which) for r in (False, True))
        return union_of([*live, *replayed])
