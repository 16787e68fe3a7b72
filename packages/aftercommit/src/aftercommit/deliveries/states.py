"""The life of a delivery: its states, and everything that can happen to it.

docs/life-of-a-delivery.md draws it. Every write to `deliveries` takes its values, and the states in
which it may happen, from here; tests compare both. `tables.py` tells what the columns mean.
"""

from typing import Any

import sqlalchemy as sa

from aftercommit.database.rare import rare
from aftercommit.deliveries.pauses import PAUSE, PAUSED, pause_of
from aftercommit.deliveries.tables import (
    CLAIMABLE,
    FINISHED,
    IN_LANE,
    PARKED,
    PENDING,
    deliveries,
    events,
)
from aftercommit.giving_up import BEFORE_THAT

Now = sa.ColumnElement[float]
"""The database's clock: `Database.clock`."""
Text = sa.ColumnElement[Any]

DUE_AT = deliveries.c.available_at - sa.case((deliveries.c.available_at > PAUSE, PAUSE), else_=0.0)
HAS_FAILED = sa.or_(deliveries.c.attempts > 0, deliveries.c.unavailable_attempts > 0)
SAME_TIME_SECONDS = 1.0  # a delivery due this soon after its event is not delayed

_earlier = deliveries.alias()
IS_BEHIND = sa.exists().where(  # an earlier delivery of its lane is not done
    _earlier.c.lane == deliveries.c.lane,
    _earlier.c.completed_at.is_(None),
    _earlier.c.position < deliveries.c.position,
)


CLAIMED = sa.and_(PENDING, deliveries.c.owner.is_not(None))
WAS_HANDLED = sa.and_(  # by its handler: neither an operator, nor another end, has ended it
    FINISHED, deliveries.c.discarded_at.is_(None), deliveries.c.given_up.is_(None)
)
UNPLACED = sa.and_(IN_LANE, deliveries.c.position.is_(None))  # it gets its place with the COMMIT

# States: conditions of a row


def delivery_state(clock: sa.ColumnElement[float]) -> sa.Case[str]:
    """Return the state of a delivery, named as on every surface (docs/life-of-a-delivery.md)."""
    row, is_later = deliveries.c, deliveries.c.available_at > clock
    is_running = sa.and_(row.owner.is_not(None), is_later, row.available_at < PAUSE)
    return sa.case(
        (row.discarded_at.is_not(None), "discarded"),
        (sa.and_(FINISHED, row.given_up.is_not(None)), "given_up"),
        (FINISHED, "done"),
        (PARKED, "parked"),
        (is_running, "running"),
        (PAUSED, "paused"),
        (row.blocked, "blocked"),
        (row.owner.is_not(None), "lease_expired"),
        (sa.and_(is_later, HAS_FAILED), "retrying"),
        (is_scheduled(clock), "scheduled"),
        else_="due",
    )


def is_scheduled(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Return a condition for delayed deliveries before their first attempt, paused or not.

    One that is due later without a delay was written while the clock was ahead: it must be seen.
    """
    return sa.and_(clock < DUE_AT, ~HAS_FAILED, ~_is_written_ahead(clock))


def _is_written_ahead(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Return a condition for deliveries of future events, which are few and have an index."""
    event = events.alias()
    is_new, newest = event.c.recorded_at > clock - SAME_TIME_SECONDS, event.c.recorded_at.desc()
    ahead = sa.select(event.c.id).where(is_new).order_by(newest).limit(10**6)  # by an index
    recorded = sa.select(event.c.recorded_at).where(event.c.id == deliveries.c.event_id)
    since = DUE_AT - recorded.correlate(deliveries).scalar_subquery()
    return sa.and_(rare(deliveries.c.event_id.in_(ahead)), since < SAME_TIME_SECONDS)


# Transitions: what can happen to a delivery

NEXT_TOKEN = deliveries.c.token + 1
UNCOUNTED = deliveries.c.attempts - 1


class Transition:
    """Something that can happen to a delivery: `when`, a condition of its row, and what is set.

    All values that an UPDATE sets are computed from the old row.
    """

    def __init__(self, when: sa.ColumnElement[bool], **values: Any) -> None:
        self.when, self.values = when, values

    def update(self, *which: sa.ColumnElement[bool]) -> sa.Update:
        """Return the statement that applies it to those of these deliveries that allow it."""
        return self.update_found(*which, self.when)

    def update_found(self, *which: sa.ColumnElement[bool]) -> sa.Update:
        """Return the same for deliveries that a part of the statement has already checked."""
        return sa.update(deliveries).where(*which).values(**self.values)


# Stored: the values of a new row


def new(due: sa.ColumnElement[float], **others: Any) -> dict[str, Any]:
    """Store a delivery with its event: it becomes due, scheduled, or what the `others` say."""
    return {"attempts": 0, "token": 1, "available_at": due, **others}


def new_and_claimed(process: str) -> dict[str, Any]:
    """Store one claimed by the committing process: running, and due when the lease ends."""
    return {"attempts": 1, "owner": process}


# Claimed: it may begin


def claimed(
    now: Now, process: str, lease_seconds: float, *, limit_name: object = None
) -> Transition:
    """Due, or lease expired → running: a process takes the delivery for the time of a lease.

    From here on, the token keeps an earlier owner from writing anything about the delivery.
    `limit_name` is that of the limit by which it is claimed: a handler may have lost its limit.
    """
    row = deliveries.c
    return Transition(
        sa.and_(CLAIMABLE, row.available_at <= now),
        attempts=row.attempts + 1,
        token=NEXT_TOKEN,
        available_at=now + lease_seconds,
        owner=process,
        previous_owner=row.owner,
        limit_name=limit_name,
    )


def claimed_or_parked(claim: Transition, now: Now, problem: Text, given_up: Text) -> Transition:
    """The same; but due, or lease expired → parked where there is a `problem`. No attempt begins.

    Otherwise, a delivery that can never be handled would be the longest due in each later claim.
    Where its handler is `given_up`, the first attempt begins of what happens instead.
    """
    row, is_fine = deliveries.c, problem.is_(None)
    begins = sa.and_(is_fine, given_up.is_not(None))
    both = sa.case((row.given_up.is_not(None), problem + BEFORE_THAT + row.last_error))
    unless_fine: dict[str, Any] = {
        "attempts": sa.case((begins, 1), (is_fine, row.attempts + 1), else_=row.attempts),
        "unavailable_attempts": sa.case((begins, 0), else_=row.unavailable_attempts),
        "owner": sa.case((is_fine, claim.values["owner"])),
        "parked_at": sa.case((~is_fine, now)),
        "last_error": sa.func.coalesce(both, problem, row.last_error),
        "given_up": sa.case((begins, given_up), else_=row.given_up),
    }
    return Transition(claim.when, **claim.values | unless_fine)


# Ended by the owner of the claim: it writes under its token, `OF_THIS_CLAIM` (`ends.py`)


def done(now: Now, lease_seconds: float, *, again: bool = False) -> Transition:
    """Running → done, or given up: the handler, or what happens instead of it, has succeeded.

    `again`: also if it was done by this claim before, and the answer was lost. The old values stay.
    """
    row = deliveries.c
    took = now - row.available_at + lease_seconds  # the lease has begun so long ago
    return Transition(
        ~PARKED if again else PENDING,
        completed_at=sa.func.coalesce(row.completed_at, now),
        duration_seconds=sa.func.coalesce(row.duration_seconds, took),
        available_at=None,
        last_error=sa.case((row.given_up.is_not(None), row.last_error)),
    )


def given_up(now: Now, error: object, why: str) -> Transition:
    """Running → due: the handler has failed for good; the next claim runs what happens instead."""
    begun_anew = {"attempts": 0, "unavailable_attempts": 0, "given_up": why}
    return Transition(CLAIMED, owner=None, available_at=now, last_error=error, **begun_anew)


def retrying(
    now: Now, error: str, seconds: float, *, is_away: bool = False, may_give_up: bool = False
) -> Transition:
    """Running → retrying: the attempt has failed; the next one follows after some seconds.

    An attempt that has failed because a resource is unavailable, `is_away`, does not count. If its
    handler may be given up, the next claim comes no later than that.
    """
    row, more, due = deliveries.c, _unavailable() if is_away else {}, now + seconds
    if may_give_up:
        is_sooner = sa.and_(row.given_up.is_(None), row.give_up_at < due)
        due = sa.case((is_sooner, row.give_up_at), else_=due)
    return Transition(CLAIMED, owner=None, available_at=due, last_error=error, **more)


def parked(now: Now, error: str, *, is_away: bool = False) -> Transition:
    """Running → parked: the attempt has failed, and only an operator may start another one."""
    more = _unavailable() if is_away else {}
    return Transition(CLAIMED, owner=None, parked_at=now, last_error=error, **more)


def _unavailable() -> dict[str, Any]:
    more = deliveries.c.unavailable_attempts + 1
    return {"attempts": UNCOUNTED, "unavailable_attempts": more}


def unreadable(now: Now, error: str) -> Transition:
    """Running → parked: its event cannot be read, so no attempt has begun."""
    return Transition(CLAIMED, attempts=UNCOUNTED, owner=None, parked_at=now, last_error=error)


def released(lease_seconds: float) -> Transition:
    """Running → due: the claim is given back, and does not count. The old due time is kept."""
    row = deliveries.c
    return Transition(
        PENDING,
        attempts=UNCOUNTED,
        token=NEXT_TOKEN,
        available_at=row.available_at - lease_seconds + pause_of(row.handler),
        owner=None,
    )


# Decided by operators: a process that runs the delivery loses it, by the token


def retried(now: Now) -> Transition:
    """Not done → due, or blocked or paused as before: all attempts are allowed again.

    From now on, no time ends after which its handler is given up. If it was given up, it stays so.
    """
    return Transition(
        ~FINISHED,
        attempts=0,
        unavailable_attempts=0,
        give_up_at=None,
        token=NEXT_TOKEN,
        available_at=now + pause_of(deliveries.c.handler),
        owner=None,
        parked_at=None,
    )


def discarded(now: Now, **last_error: str) -> Transition:
    """Not done → discarded: it ends although its handler has not done it; `last_error` says why."""
    return Transition(
        ~FINISHED,
        token=NEXT_TOKEN,
        available_at=None,
        owner=None,
        parked_at=None,
        completed_at=now,
        discarded_at=now,
        **last_error,
    )


def revoked(now: Now) -> Transition:
    """Running → due: the claim is taken from its process, which still knows erased data."""
    return Transition(
        CLAIMED,
        attempts=UNCOUNTED,
        token=NEXT_TOKEN,
        available_at=now + pause_of(deliveries.c.handler),
        owner=None,
    )


def replayed(now: Now, handler: sa.ColumnElement[str]) -> Transition:
    """Done → due: its handler runs once more. A pause is that of the handler's current name."""
    return Transition(
        WAS_HANDLED,
        give_up_at=None,
        attempts=0,
        unavailable_attempts=0,
        token=NEXT_TOKEN,
        available_at=now + pause_of(handler),
        replay=True,
        owner=None,
        previous_owner=None,
        last_error=None,
        completed_at=None,
        duration_seconds=None,
    )


def held() -> Transition:
    """Due, scheduled, retrying or blocked → paused: claims do not reach it.

    Deliveries that a process is running, lost or is about to change are left alone: they are few.
    """
    due = deliveries.c.available_at
    free = sa.and_(PENDING, deliveries.c.owner.is_(None), due < PAUSE)
    return Transition(free, available_at=due + PAUSE)


def resumed() -> Transition:
    """Paused → the state it would have if its handler had never been paused."""
    due = deliveries.c.available_at
    return Transition(sa.and_(PENDING, due > PAUSE), available_at=due - PAUSE)


def redacted(text: str, *, kept: str) -> Transition:
    """In any state: its last error may quote erased data, unless it is one of those `kept`."""
    return Transition(deliveries.c.last_error != kept, last_error=text)


def event_redacted() -> Transition:
    """In any state: its event has new data, so the page has to read it again."""
    return Transition(sa.true(), token=NEXT_TOKEN)


# Ordered: what happens in its lane


def placed(position: sa.ColumnElement[int], is_blocked: sa.ColumnElement[bool]) -> Transition:
    """Blocked → due, or still `is_blocked`: a session has stored it without a place."""
    return Transition(UNPLACED, position=position, blocked=is_blocked)


def blocked() -> Transition:
    """Due → blocked: an earlier one of its lane was stored after it. Running ones go on."""
    return Transition(sa.and_(IN_LANE, ~deliveries.c.blocked, IS_BEHIND), blocked=True)


def unblocked(now: Now) -> Transition:
    """Blocked → due, if its time has come: no earlier one of its lane is left."""
    row = deliveries.c
    due = sa.case((row.available_at < now, now), else_=row.available_at)
    return Transition(sa.and_(~FINISHED, row.blocked), blocked=False, available_at=due)


# In tests of applications


def aged(seconds: float) -> Transition:
    """In any state: this many seconds have passed, as far as the row shows."""
    due = deliveries.c.available_at
    end = deliveries.c.give_up_at - seconds
    return Transition(due.is_not(None), available_at=due - seconds, give_up_at=end)
