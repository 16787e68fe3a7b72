"""Completes the deliveries of ordered handlers, and lets their lanes go on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from anyio import current_time

from aftercommit.claims import Claim
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.database.writer_queue import Writer
from aftercommit.deliveries.deferred_unblocking import unblock_soon
from aftercommit.deliveries.ends import (
    BATCH_SIZE,
    OF_THESE_CLAIMS,
    OF_THIS_CLAIM,
    ClaimKey,
    why_missed,
)
from aftercommit.deliveries.lanes import LanePosition, lock_lanes, unblocking
from aftercommit.deliveries.lock_order import change_in_order
from aftercommit.deliveries.states import claimed, done
from aftercommit.deliveries.tables import RAW_EVENTS, deliveries
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.envelopes import Envelope, EventId
from aftercommit.errors import InvalidMessage
from aftercommit.giving_up import GivenUp


class OrderedDeliveries:
    """Handles rows in lanes. Deliveries of unordered handlers skip all of this.

    The handlers `not_here` have a limit: only a claim by the limit may take their rows.
    """

    def __init__(
        self, database: Database, policy: DeliveryPolicy, *, not_here: Collection[str] = ()
    ) -> None:
        self._database, self._policy, self._not_here = database, policy, not_here
        now, row = database.clock, deliveries.c
        self._done = done(now, policy.lease_seconds, again=True)
        is_new = (row.completed_at == now).label("is_new")
        complete = change_in_order(database, self._done, OF_THIS_CLAIM, skip_locked=True)
        self._complete = complete.returning(is_new)
        self._next = unblocking(now).returning(row.event_id, row.handler, row.token)
        claim = claimed(now, database.process, policy.lease_seconds)
        is_late = sa.func.coalesce(row.give_up_at <= now, sa.false())
        is_fresh = row.owner.is_(None), ~is_late
        self._claim = claim.update(OF_THESE_CLAIMS, *is_fresh).returning(deliveries)

    async def complete(self, claim: Claim, *, follow: bool) -> Sequence[Claim]:
        """Mark a delivery without a transaction of its own as done, and go on in its lane.

        If this claim had completed it before, and the answer was lost, the lane has gone on since
        then, and a replay may have put others before the next one.

        :raises DeliverySuperseded: if it has another owner now, or was parked
        :raises DeliveryLocked: if its row is locked
        """
        async with self._database.write_transaction(Writer.REPLY) as transaction:
            lane = [claim.lane or ""]
            is_free = await lock_lanes(transaction, self._database, (), if_free=lane)
            this = ClaimKey.of(claim).params
            completed = (await transaction.execute(self._complete, this)).first()
            if completed is None:
                raise await why_missed(transaction, self._database, claim, self._done)
            claims: Sequence[Claim] = ()
            if completed.is_new:
                goes_on = {"follow": follow, "is_free": bool(is_free)}
                claims = await self.go_on(transaction, claim, **goes_on)
            await transaction.commit()
        return claims

    async def go_on(
        self, transaction: Transaction, ended: Claim, *, is_free: bool, follow: bool = True
    ) -> Sequence[Claim]:
        """Unblock the delivery after one that is done, and perhaps claim it.

        If its lane is not free, this is done soon after the commit. The next one is claimed if it
        belongs to the same trace, and can be read; otherwise, a worker claims it.
        """
        envelope = ended.envelope
        if not is_free:
            transaction.afterwards(partial(unblock_soon, self._database, ended.lane or ""))
            return ()
        place = LanePosition(ended.lane or "", envelope.position or 0, envelope.id, ended.handler)
        found = (await transaction.execute(self._next, place._asdict())).all()
        claims: Sequence[Claim] = ()
        is_inline = follow and self._policy.dispatch == "inline"
        if found and is_inline and found[0].handler not in self._not_here:
            key = ClaimKey._make(found[0])
            [event] = (await transaction.execute(RAW_EVENTS, {"ids": [key.event_id]})).mappings()
            try:
                following: Envelope | None = self._database.codec.from_row(event)
            except InvalidMessage:
                following = None  # a worker parks it, or one that knows its type runs it
            tree = envelope.context.correlation_id
            if following and following.context.correlation_id == tree:
                claims = await self.claim(transaction, [key], {key.event_id: following})
        if found and not claims:
            transaction.notify_workers()
        return claims

    async def claim(
        self,
        transaction: Transaction,
        wanted: Sequence[ClaimKey],
        envelopes: Mapping[EventId, Envelope],
    ) -> Sequence[Claim]:
        """Claim the due ones of these deliveries, which are the first of their lanes."""
        leased_at, rows = current_time(), list[sa.RowMapping]()
        for start in range(0, len(wanted), BATCH_SIZE):
            some = wanted[start : start + BATCH_SIZE]
            asked = {"claims": some, "ids": [each.event_id for each in some]}
            rows += (await transaction.execute(self._claim, asked)).mappings()
        return [claim_of_row(row, envelopes[row["event_id"]], leased_at) for row in rows]


def claim_of_row(row: Mapping[Any, Any], envelope: Envelope, leased_at: float) -> Claim:
    """Return the current claim of a delivery's row; its event has a position in a lane only."""
    if row["lane"]:
        envelope = replace(envelope, position=row["position"])
    return Claim(
        envelope=envelope,
        handler=row["handler"],
        attempt=row["attempts"],
        token=row["token"],
        unavailable_attempts=row["unavailable_attempts"],
        leased_at=leased_at,
        lane=row["lane"],
        given_up=GivenUp.from_text(row["given_up"]) if row["given_up"] else None,
        last_error=row["last_error"],
    )
