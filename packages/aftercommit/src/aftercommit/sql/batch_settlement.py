"""Last writes about deliveries whose handlers have no transaction: many with one statement.

They skip the rows that another session has locked, so that one such row holds up no other claim.
Its claim is still valid then: that is no takeover, and the write is tried again.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from anyio import Event
from anyio.lowlevel import checkpoint
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.claims import Claim, DeliveryPolicy
from aftercommit.envelopes import EventId
from aftercommit.errors import DeliverySuperseded
from aftercommit.sql import failure_history
from aftercommit.sql.claim_statements import NEXT_TOKEN
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import pause_of
from aftercommit.sql.exceptions import DeliveryLocked
from aftercommit.sql.failure_history import Outcome
from aftercommit.sql.lock_order import change_in_order
from aftercommit.sql.tables import PARKED, PENDING, deliveries
from aftercommit.sql.transaction import Transaction
from aftercommit.sql.write_line import Writer

BATCH_SIZE = 128  # SQLite has a limit for what makes one statement


class ClaimKey(NamedTuple):
    """What tells a claim from all others: the key of the delivery, and its token."""

    event_id: EventId
    handler: str
    token: int


WriteAll = Callable[[Sequence[ClaimKey]], Awaitable[Collection[ClaimKey]]]
"""Writes about those of these claims whose rows are not locked; returns those that it has hit."""
Fate = Literal["hit", "superseded", "locked"]

# the rows of these claims, unless another one has been made on them
_CLAIMS: sa.BindParameter[Any] = sa.bindparam("claims", expanding=True)
_KEY_AND_TOKEN = [deliveries.c[name] for name in ClaimKey._fields]
_CLAIMED = sa.tuple_(*_KEY_AND_TOKEN).in_(_CLAIMS)
_VALID = _CLAIMED, PENDING
NOT_PARKED = ~PARKED  # also what is done already with this token
WITH_VALID_TOKEN = sa.update(deliveries).where(*_VALID)
# a list of one costs SQLAlchemy more than a comparison
_THIS = [column == sa.bindparam(f"this_{column.name}") for column in _KEY_AND_TOKEN]
THIS_WITH_VALID_TOKEN = sa.update(deliveries).where(*_THIS, PENDING)


def claim_of(delivery: Claim) -> ClaimKey:
    """Return the key of a claim."""
    return ClaimKey(delivery.envelope.id, delivery.handler, delivery.token)


def claim_params(delivery: Claim) -> dict[str, Any]:
    """Return the parameters by which `THIS_WITH_VALID_TOKEN` finds the row."""
    return {f"this_{name}": value for name, value in claim_of(delivery)._asdict().items()}


def settlement(database: Database, policy: DeliveryPolicy) -> ReturningUpdate[Any]:
    """Return the statement that marks the deliveries of all these claims as done.

    One that is done already with this token was so by this claim, whose answer was cancelled.
    """
    settled = sa.update(deliveries).values(**done(database, policy))
    settled = change_in_order(database, settled, _CLAIMED, NOT_PARKED, skip_locked=True)
    return settled.returning(*_KEY_AND_TOKEN)


def change_of_this(database: Database, **values: object) -> sa.Update:
    """Return the change of what `claim_params` finds, unless somebody has locked it."""
    change = sa.update(deliveries).values(**values)
    return change_in_order(database, change, *_THIS, PENDING, skip_locked=True)


async def skipped(
    transaction: Transaction, missed: Sequence[ClaimKey], valid: sa.ColumnElement[bool]
) -> Sequence[ClaimKey]:
    """Return those of the claims that a write has missed whose rows it has skipped.

    These are still valid. If a row was unlocked since then, another try finds it.
    """
    still_valid = sa.select(*_KEY_AND_TOKEN).where(_CLAIMED, valid)
    found = await transaction.execute(still_valid, {"claims": missed})
    return [ClaimKey._make(row) for row in found]


async def why_missed(
    transaction: Transaction, database: Database, delivery: Claim, valid: sa.ColumnElement[bool]
) -> Exception:
    """Return the error that says why a write has missed the delivery of a claim."""
    has_locks = not database.backend.single_writer
    if has_locks and await skipped(transaction, [claim_of(delivery)], valid):
        return DeliveryLocked()
    return DeliverySuperseded(delivery.envelope.id, delivery.handler)


def done(database: Database, policy: DeliveryPolicy) -> dict[str, Any]:
    """Return what is set when a delivery is done; what was set before stays."""
    columns, now = deliveries.c, database.clock
    took = now - columns.available_at + policy.lease_seconds  # the lease has begun so long ago
    return {
        "completed_at": sa.func.coalesce(columns.completed_at, now),
        "duration_seconds": sa.func.coalesce(columns.duration_seconds, took),
        "available_at": None,
        "last_error": None,
    }


class Batches:
    """Writes about claims. All that come while a write is under way share the next."""

    def __init__(
        self, database: Database, write_all: WriteAll, valid: sa.ColumnElement[bool]
    ) -> None:
        self._database, self._write_all, self._valid = database, write_all, valid
        self._fates: dict[ClaimKey, Fate | None] = {}  # None: not known yet
        self._under_way: Event | None = None  # not a lock: it wakes all that wait, in one turn

    async def write(self, claims: Sequence[ClaimKey]) -> bool:
        """Return when it is written, and whether it has hit the rows of all these claims.

        :raises DeliveryLocked: if somebody has locked some; the others are written
        """
        known = self._fates
        known |= dict.fromkeys(claims)
        try:
            await checkpoint()  # others have ended at the same time
            while mine := [each for each in claims if known[each] is None]:
                if self._under_way:
                    await self._under_way.wait()
                    continue
                self._under_way = Event()
                others = (each for each, fate in known.items() if fate is None)
                batch = sorted([*dict.fromkeys([*mine, *others])][:BATCH_SIZE])
                try:
                    fates = await self._write_batch(batch)
                    known |= {each: fates[each] for each in known.keys() & batch}  # some are gone
                finally:
                    self._under_way.set()
                    self._under_way = None
            ends = {known[each] for each in claims}
            if "locked" in ends:
                raise DeliveryLocked
            return "superseded" not in ends
        finally:
            for each in claims:
                known.pop(each, None)

    async def _write_batch(self, batch: Sequence[ClaimKey]) -> dict[ClaimKey, Fate]:
        fates: dict[ClaimKey, Fate] = dict.fromkeys(batch, "superseded")
        fates |= dict.fromkeys(await self._write_all(batch), "hit")
        missed = [each for each in batch if fates[each] != "hit"]
        if missed and not self._database.backend.single_writer:
            async with self._database.write_transaction(Writer.LAST) as transaction:
                locked = await skipped(transaction, missed, self._valid)
            fates |= dict.fromkeys(locked, "locked")
        return fates


class Releases:
    """Gives claims back, many at once; the history has them, with how they ended."""

    def __init__(self, database: Database, policy: DeliveryPolicy, end: Outcome) -> None:
        self._database, self._end, row = database, end, deliveries.c
        self._batches = Batches(database, self._release_all, PENDING)
        claimed_at = row.available_at - policy.lease_seconds + pause_of(row.handler)
        fresh = {"attempts": row.attempts - 1, "token": NEXT_TOKEN, "owner": None}
        attempt, token = row.attempts + 1, row.token - 1  # RETURNING sees what is set
        claim = row.event_id, row.handler, token.label("token"), attempt.label("attempt")
        release = sa.update(deliveries).values(available_at=claimed_at, **fresh)
        released = change_in_order(database, release, *_VALID, skip_locked=True)
        self._statement = released.returning(*claim)

    async def release(self, claims: Collection[Claim]) -> None:
        """Return when all that are still valid are released.

        :raises DeliveryLocked: if somebody has locked some; the others are released
        """
        await self._batches.write([claim_of(each) for each in claims])

    async def _release_all(self, claims: Sequence[ClaimKey]) -> Sequence[ClaimKey]:
        what = {"owner": self._database.process, "error": failure_history.REASONS[self._end]}
        async with self._database.write_transaction(Writer.LAST) as transaction:
            released = (
                (await transaction.execute(self._statement, {"claims": claims})).mappings().all()
            )
            ended = [{**claim, **what} for claim in released]
            await failure_history.record(transaction, self._database.clock, self._end, ended)
            await transaction.commit()
        return [ClaimKey(*(claim[name] for name in ClaimKey._fields)) for claim in released]
