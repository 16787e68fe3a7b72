"""How claims end: many are written together; the end is kept unless it was a success.

A handler with a transaction completes its delivery in it. All other ends are last writes, which are
made here. They skip rows that another session has locked, so that such a row delays no other claim.
The skipped claim stays valid: nobody has taken it over, and its write is tried again.

A delivery's row shows its success; of each other outcome, the last ten claims are kept.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from anyio import Event
from anyio.lowlevel import checkpoint

from aftercommit.claims import Claim, Failure
from aftercommit.database.database import Database
from aftercommit.database.rare import rare
from aftercommit.database.transaction import Transaction
from aftercommit.database.writer_queue import Writer
from aftercommit.deliveries import states
from aftercommit.deliveries.lock_order import change_in_order
from aftercommit.deliveries.states import Transition
from aftercommit.deliveries.tables import deliveries, failures
from aftercommit.envelopes import EventId
from aftercommit.errors import DeliveryLocked, DeliverySuperseded, is_away
from aftercommit.giving_up import BEFORE_THAT, GivenUp

logger = logging.getLogger(__name__)

BATCH_SIZE = 128  # SQLite has a limit for what makes one statement
# A process writes about its own claim under the claim's token. If another process has claimed the
# delivery since then, or an operator has decided, the write matches no row.


class ClaimKey(NamedTuple):
    """What distinguishes a claim from all others: the key of the delivery, and the token."""

    event_id: EventId
    handler: str
    token: int

    @classmethod
    def of(cls, claim: Claim) -> "ClaimKey":
        """Return the key of a claim."""
        return cls(claim.envelope.id, claim.handler, claim.token)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters with which a statement `OF_THIS_CLAIM` finds the row."""
        return {f"this_{name}": value for name, value in self._asdict().items()}


CLAIM_COLUMNS = [deliveries.c[name] for name in ClaimKey._fields]
_CLAIMS: sa.BindParameter[Any] = sa.bindparam("claims", expanding=True)
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)  # of their events
OF_THESE_CLAIMS = sa.and_(
    rare(deliveries.c.event_id.in_(_IDS)), sa.tuple_(*CLAIM_COLUMNS).in_(_CLAIMS)
)
# a list with one element costs SQLAlchemy more than a comparison
OF_THIS_CLAIM = sa.and_(
    *(column == sa.bindparam(f"this_{column.name}") for column in CLAIM_COLUMNS)
)

EndAll = Callable[[Sequence[ClaimKey]], Awaitable[Collection[ClaimKey]]]
"""Ends these claims except those with locked rows; returns the ended ones."""
Fate = Literal["hit", "superseded", "locked"]

ClaimEnd = Literal["failed", "released", "interrupted", "lease_expired", "superseded"]
"""How a claim ended. An interrupted handler may have had its effect.

`superseded` is stored for a revoked claim: an operator took the delivery away.
"""

MAX_FAILURES = 10
MAX_ERROR_LENGTH = 2000  # characters of an error that are kept
LEASE_EXPIRED = "it had not finished when its lease ended"
REASONS: Mapping[ClaimEnd, str] = {
    "released": "its process gave it back before it had an effect",
    "interrupted": "its process was stopped while it ran: its effect may have happened",
    "lease_expired": LEASE_EXPIRED,
    "superseded": "an operator decided while it ran: an external effect of it may have happened",
}

_NEWER = failures.alias()
_NUMBER_NEWER = sa.select(sa.func.count()).where(
    *(_NEWER.c[name] == failures.c[name] for name in ("event_id", "handler", "outcome")),
    _NEWER.c.token > failures.c.token,
)
_DELIVERIES: sa.BindParameter[Any] = sa.bindparam("deliveries", expanding=True)
_FORGET = sa.delete(failures).where(
    sa.tuple_(failures.c.event_id, failures.c.handler).in_(_DELIVERIES),
    _NUMBER_NEWER.scalar_subquery() >= MAX_FAILURES,
)


class Batches:
    """Ends claims, all in the same way. Claims that arrive during a write share the next one."""

    def __init__(
        self,
        database: Database,
        end: Transition,
        outcome: ClaimEnd | None = None,
        *,
        end_all: EndAll | None = None,
    ) -> None:
        """Prepare the statement for an end; its `outcome` is recorded if it is not a success.

        `end_all` is a database's replacement for that statement.
        """
        self._database, self._end, self._outcome = database, end, outcome
        self._end_all = end_all or self._end_in_transaction
        row, claim = deliveries.c, list[sa.ColumnElement[Any]](CLAIM_COLUMNS)
        if outcome:  # it was given back: RETURNING sees the new row
            token, attempt = (row.token - 1).label("token"), (row.attempts + 1).label("attempt")
            claim = [row.event_id, row.handler, token, attempt]
        changed = change_in_order(database, end, OF_THESE_CLAIMS, skip_locked=True)
        self._statement = changed.returning(*claim)
        self._fates: dict[ClaimKey, Fate | None] = {}  # None: not known yet
        self._under_way: Event | None = None  # not a lock: it wakes all waiters in one turn

    async def write(self, claims: Sequence[ClaimKey]) -> bool:
        """Return when it is written, and whether it matched the rows of all these claims.

        :raises DeliveryLocked: if some are locked; the others are written
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
                    fates: dict[ClaimKey, Fate] = dict.fromkeys(batch, "superseded")
                    fates |= dict.fromkeys(await self._end_all(batch), "hit")
                    missed = [each for each in batch if fates[each] != "hit"]
                    if missed and not self._database.backend.single_writer:
                        async with self._database.write_transaction(Writer.LAST) as transaction:
                            locked = await _still_valid(transaction, missed, self._end)
                        fates |= dict.fromkeys(locked, "locked")
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

    async def _end_in_transaction(self, claims: Sequence[ClaimKey]) -> Collection[ClaimKey]:
        async with self._database.write_transaction(Writer.LAST) as transaction:
            asked = {"claims": claims, "ids": [each.event_id for each in claims]}
            found = await transaction.execute(self._statement, asked)
            ended = found.mappings().all()
            if outcome := self._outcome:
                what = {"owner": self._database.process, "error": REASONS[outcome]}
                entries = [{**claim, **what} for claim in ended]
                await record(transaction, self._database.clock, outcome, entries)
            await transaction.commit()
        return [ClaimKey(row["event_id"], row["handler"], row["token"]) for row in ended]


def after_failure(
    failure: Failure, now: sa.ColumnElement[float], *, may_give_up: bool
) -> Transition:
    """Return how a failure ends a claim. Of a handler that was given up, the error is kept."""
    claim, error, away = failure.delivery, describe(failure.error), is_away(failure.error)
    kept = claim.last_error if claim.given_up else None
    if failure.given_up:
        return states.given_up(now, error, failure.given_up.text)
    if failure.retry_in is None:
        both = f"{error}{BEFORE_THAT}{kept}" if kept else error
        return states.parked(now, both, is_away=away)
    how = {"is_away": away, "may_give_up": may_give_up}
    return states.retrying(now, kept or error, failure.retry_in, **how)


async def ensure_failure_stored(
    transaction: Transaction, database: Database, claim: Claim, end: Transition
) -> None:
    """Raise why a failed end of a claim matched no row, unless it is stored: its answer was lost.

    :raises DeliveryLocked: if the row is locked
    :raises DeliverySuperseded: if the claim is no longer the caller's
    """
    key, row = ClaimKey.of(claim), failures.c
    this = row.event_id == key.event_id, row.handler == key.handler, row.token == key.token
    stored = sa.select(row.token).where(*this, row.outcome == "failed")
    if not (await transaction.execute(stored)).first():
        raise await why_missed(transaction, database, claim, end)


async def why_missed(
    transaction: Transaction, database: Database, claim: Claim, end: Transition
) -> Exception:
    """Return the error that says why the end of a claim matched no row."""
    has_locks = not database.backend.single_writer
    if has_locks and await _still_valid(transaction, [ClaimKey.of(claim)], end):
        return DeliveryLocked()
    return DeliverySuperseded(claim.envelope.id, claim.handler)


async def _still_valid(
    transaction: Transaction, missed: Sequence[ClaimKey], end: Transition
) -> Sequence[ClaimKey]:
    """Return those of the missed claims that are valid, because their rows were skipped.

    These can still end this way. If a row was unlocked since then, another try finds it.
    """
    still_valid = sa.select(*CLAIM_COLUMNS).where(OF_THESE_CLAIMS, end.when)
    asked = {"claims": missed, "ids": [each.event_id for each in missed]}
    found = await transaction.execute(still_valid, asked)
    return [ClaimKey._make(row) for row in found]


def expired(row: sa.RowMapping) -> dict[str, Any]:
    """Return the previous claim, whose process died, hung, or was cut off."""
    attempt = row["attempts"] - (row["parked_at"] is None)  # a parked delivery has no newer claim
    if row["given_up"] and not attempt:  # or it may have been the last one of its handler
        attempt = GivenUp.from_text(row["given_up"]).attempts
    claim = {name: row[name] for name in ClaimKey._fields} | {"token": row["token"] - 1}
    return claim | {"attempt": attempt, "owner": row["previous_owner"], "error": LEASE_EXPIRED}


def log_taken_over(rows: Iterable[Mapping[Any, Any]]) -> None:
    """Log which processes' leases have expired, and what a claim has taken over from each."""
    lost = [(row["previous_owner"], row["handler"]) for row in rows if row["previous_owner"]]
    for (owner, handler), count in Counter(lost).items():
        logger.warning(
            "taken over from %s, whose lease has expired: %s (%d)", owner, handler, count
        )


def log_parked(row: Mapping[Any, Any], error: str) -> None:
    """Log a delivery that a claim has parked."""
    logger.warning("%s parked on event %s: %s", row["handler"], row["event_id"], error)


async def record(
    transaction: Transaction,
    now: sa.ColumnElement[float],
    outcome: ClaimEnd,
    ended: Sequence[Mapping[str, Any]],
) -> None:
    """Record in the caller's transaction how these claims have ended."""
    if not ended:
        return
    row = sa.insert(failures).values(failed_at=now, outcome=outcome)
    await transaction.execute(row, ended)
    # each has its own token, so a delivery without an eleventh claim has no eleventh row
    many = [(each["event_id"], each["handler"]) for each in ended if each["token"] > MAX_FAILURES]
    if many:
        await transaction.execute_dml(_FORGET, {"deliveries": many})


def describe(error: Exception) -> str:
    """Return what can be stored of an error, without characters that databases refuse."""
    words = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    text = "; ".join(words)[:MAX_ERROR_LENGTH]
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
