"""Last writes about deliveries whose handlers have no transaction: many with one statement."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from anyio import Event
from anyio.lowlevel import checkpoint
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.claims import Claim, DeliveryPolicy
from aftercommit.envelopes import EventId
from aftercommit.sql import failure_history
from aftercommit.sql.claim_statements import NEXT_TOKEN
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import pause_of
from aftercommit.sql.failure_history import Outcome
from aftercommit.sql.lock_order import change_in_order
from aftercommit.sql.tables import PARKED, PENDING, deliveries
from aftercommit.sql.write_line import Writer

BATCH_SIZE = 128  # SQLite has a limit for what makes one statement


class ClaimKey(NamedTuple):
    """What tells a claim from all others: the key of the delivery, and its token."""

    event_id: EventId
    handler: str
    token: int


WriteAll = Callable[[Sequence[ClaimKey]], Awaitable[Collection[ClaimKey]]]
"""Writes about all these claims, and returns those that it has hit."""

# the rows of these claims, unless another one has been made on them
_CLAIMS: sa.BindParameter[Any] = sa.bindparam("claims", expanding=True)
_KEY_AND_TOKEN = [deliveries.c[name] for name in ClaimKey._fields]
_CLAIMED = sa.tuple_(*_KEY_AND_TOKEN).in_(_CLAIMS)
_VALID = _CLAIMED, PENDING
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
    return change_in_order(database, settled, _CLAIMED, ~PARKED).returning(*_KEY_AND_TOKEN)


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

    def __init__(self, write_all: WriteAll) -> None:
        self._write_all = write_all
        self._was_hit: dict[ClaimKey, bool | None] = {}  # None: not known yet
        self._under_way: Event | None = None  # not a lock: it wakes all that wait, in one turn

    async def write(self, claims: Sequence[ClaimKey]) -> bool:
        """Return when it is written, and whether it has hit the rows of all these claims."""
        known = self._was_hit
        known |= dict.fromkeys(claims)
        try:
            await checkpoint()  # others have ended at the same time
            while mine := [each for each in claims if known[each] is None]:
                if self._under_way:
                    await self._under_way.wait()
                    continue
                self._under_way = Event()
                others = (each for each, hit in known.items() if hit is None)
                batch = sorted([*dict.fromkeys([*mine, *others])][:BATCH_SIZE])
                try:
                    hit = frozenset(await self._write_all(batch))
                    known |= {each: each in hit for each in known.keys() & batch}  # some are gone
                finally:
                    self._under_way.set()
                    self._under_way = None
            return all(known[each] for each in claims)
        finally:
            for each in claims:
                known.pop(each, None)


class Releases:
    """Gives claims back, many at once; the history has them, with how they ended."""

    def __init__(self, database: Database, policy: DeliveryPolicy, end: Outcome) -> None:
        self._database, self._end, row = database, end, deliveries.c
        self._batches = Batches(self._release_all)
        claimed_at = row.available_at - policy.lease_seconds + pause_of(row.handler)
        fresh = {"attempts": row.attempts - 1, "token": NEXT_TOKEN, "owner": None}
        attempt, token = row.attempts + 1, row.token - 1  # RETURNING sees what is set
        claim = row.event_id, row.handler, token.label("token"), attempt.label("attempt")
        release = sa.update(deliveries).values(available_at=claimed_at, **fresh)
        self._statement = change_in_order(database, release, *_VALID).returning(*claim)

    async def release(self, claims: Collection[Claim]) -> None:
        """Return when all that are still valid are released."""
        await self._batches.write([claim_of(each) for each in claims])

    async def _release_all(self, claims: Sequence[ClaimKey]) -> Sequence[ClaimKey]:
        what = {"owner": self._database.process, "error": failure_history.REASONS[self._end]}
        async with self._database.write_transaction(Writer.LAST) as transaction:
            released = (await transaction.execute(self._statement, {"claims": claims})).mappings()
            ended = [{**claim, **what} for claim in released]
            await failure_history.record(transaction, self._database.clock, self._end, ended)
            await transaction.commit()
        return claims
