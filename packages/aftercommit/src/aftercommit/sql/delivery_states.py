"""The life of a delivery: what its columns mean, its states, and all that can happen to it.

docs/life-of-a-delivery.md draws it. Whatever writes to `deliveries` takes from here what is set,
and in which state that can happen; tests compare this module with the page. The columns:

- `attempts` count: a claim adds one, and whoever gives a claim back before its handler has begun
  takes that one off. `unavailable_attempts` found a resource away, and count for the pause only.
- `token` is the fencing token. It grows whenever a claim ends without the will of its owner, and
  whenever one is made or given back. So whoever finds its own token in the row has not lost it.
- `available_at` is the end of the lease, if there is an `owner`, else the due time. While the
  handler is paused, that is a `PAUSE` later. Nothing is available of what is done or discarded.
- `owner` is the process that has the claim, or has done it; `previous_owner` lost it at that claim.
- `last_error` tells why the last attempt has failed, or why it is parked.
- `parked_at` is set while it waits for an operator; nobody claims it.
- `completed_at` is set when it is done or discarded, `discarded_at` in the second case only.
- `duration_seconds` is how long the attempt took that has done it, from its claim on.
- `replay` says that it was (or is) done because of a replay: all others are claimed before it.
- `lane`, `position` and `blocked` are for ordered handlers: see `lanes.py`.
- `schema_version` is that of the event. It never changes, and claims go by it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from aftercommit.claims import Claim
from aftercommit.envelopes import EventId
from aftercommit.sql.tables import (
    CLAIMABLE,
    FINISHED,
    IN_LANE,
    PARKED,
    PENDING,
    deliveries,
    events,
    handler_pauses,
)

Now = sa.ColumnElement[float]
"""The clock of the database: `Database.clock`."""

PAUSED_HANDLERS = sa.select(handler_pauses.c.handler)
PAUSED = deliveries.c.handler.in_(PAUSED_HANDLERS)
PAUSE = 1e12  # seconds that are added to the due time: claims, by their index, never come to it
DUE_AT = deliveries.c.available_at - sa.case((deliveries.c.available_at > PAUSE, PAUSE), else_=0.0)
HAS_FAILED = sa.or_(deliveries.c.attempts > 0, deliveries.c.unavailable_attempts > 0)
SAME_TIME_SECONDS = 1.0  # what is due so soon after its event is not delayed

_earlier = deliveries.alias()
IS_BEHIND = sa.exists().where(  # an earlier one of its lane is not done
    _earlier.c.lane == deliveries.c.lane,
    _earlier.c.completed_at.is_(None),
    _earlier.c.position < deliveries.c.position,
)


# States: conditions of a row


def delivery_state(clock: sa.ColumnElement[float]) -> sa.Case[str]:
    """Return the state of a delivery, as every surface names it (docs/life-of-a-delivery.md)."""
    row, is_later = deliveries.c, deliveries.c.available_at > clock
    is_running = sa.and_(row.owner.is_not(None), is_later, row.available_at < PAUSE)
    return sa.case(
        (row.discarded_at.is_not(None), "discarded"),
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
    """Tell what is delayed, and was not attempted yet, paused or not.

    What is due later without a delay was written while the clock was ahead: somebody has to see it.
    """
    return sa.and_(clock < DUE_AT, ~HAS_FAILED, ~_is_written_ahead(clock))


def _is_written_ahead(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Tell what is due with an event of the future. There are few: an index has them."""
    event = events.alias()
    ahead = sa.select(event.c.id).where(event.c.recorded_at > clock - SAME_TIME_SECONDS)
    recorded = sa.select(event.c.recorded_at).where(event.c.id == deliveries.c.event_id)
    since = DUE_AT - recorded.correlate(deliveries).scalar_subquery()
    return sa.and_(deliveries.c.event_id.in_(ahead), since < SAME_TIME_SECONDS)


def pause_of(handler: sa.ColumnElement[str]) -> sa.Case[float]:
    """Return what is added to the due time of a delivery of this handler: nothing, or a `PAUSE`.

    It is locked: who resumes the handler waits for this commit, and finds the delivery.
    """
    this = sa.select(handler_pauses).where(handler_pauses.c.handler == handler)
    return sa.case((sa.exists(this.with_for_update(read=True, key_share=True)), PAUSE), else_=0.0)


# Transitions

NEXT_TOKEN = deliveries.c.token + 1
_UNCOUNTED = {"attempts": deliveries.c.attempts - 1}
_BEGUN_ANEW = {
    "attempts": 0,
    "unavailable_attempts": 0,
    "token": NEXT_TOKEN,
    "owner": None,
    "parked_at": None,
}


class Transition(NamedTuple):
    """What can happen to a delivery: `when`, as a condition of its row, and what is set then."""

    when: sa.ColumnElement[bool]
    values: Mapping[str, Any]

    def update(self, *which: sa.ColumnElement[bool]) -> sa.Update:
        """Return the statement by which it happens to those of these deliveries that allow it."""
        return sa.update(deliveries).where(*which, self.when).values(**self.values)


# What a process writes about its own claim, it writes under the token of this claim. If somebody
# else has claimed the delivery since then, or an operator has decided, it hits no row.


class ClaimKey(NamedTuple):
    """What tells a claim from all others: the key of the delivery, and its token."""

    event_id: EventId
    handler: str
    token: int

    @classmethod
    def of(cls, claim: Claim) -> "ClaimKey":
        """Return the key of a claim."""
        return cls(claim.envelope.id, claim.handler, claim.token)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters by which a statement `OF_THIS_CLAIM` finds the row."""
        return {f"this_{name}": value for name, value in self._asdict().items()}


CLAIM_COLUMNS = [deliveries.c[name] for name in ClaimKey._fields]
_CLAIMS: sa.BindParameter[Any] = sa.bindparam("claims", expanding=True)
OF_THESE_CLAIMS = sa.tuple_(*CLAIM_COLUMNS).in_(_CLAIMS)
# a list of one costs SQLAlchemy more than a comparison
OF_THIS_CLAIM = sa.and_(
    *(column == sa.bindparam(f"this_{column.name}") for column in CLAIM_COLUMNS)
)


# Stored: the values of a new row


def new(due: sa.ColumnElement[float], **others: Any) -> dict[str, Any]:
    """Store a delivery with its event: it becomes due, scheduled, or what the `others` say."""
    return {"attempts": 0, "token": 1, "available_at": due, **others}


def new_and_claimed(now: Now, process: str, lease_seconds: float) -> dict[str, Any]:
    """Store a delivery that the committing process has claimed: its first attempt, running."""
    return new(now + lease_seconds, owner=process) | {"attempts": 1}


# Claimed


def claimed(now: Now, process: str, lease_seconds: float) -> Transition:
    """Due, or lease expired → running: a process takes it for the time of a lease.

    From here on, the token keeps an earlier owner from writing anything about it.
    """
    row = deliveries.c
    return Transition(
        when=sa.and_(CLAIMABLE, row.available_at <= now),
        values={
            "attempts": row.attempts + 1,
            "token": NEXT_TOKEN,
            "available_at": now + lease_seconds,
            "owner": process,
            "previous_owner": row.owner,  # SET sees the row as it was
        },
    )


def claimed_or_parked(claim: Transition, now: Now, problem: sa.ColumnElement[str]) -> Transition:
    """The same; but due, or lease expired → parked where there is a `problem`. No attempt begins.

    What can never be handled would otherwise be the longest due in each later claim.
    """
    is_fine = problem.is_(None)
    or_parked = {
        "attempts": deliveries.c.attempts + sa.case((is_fine, 1), else_=0),
        "owner": sa.case((is_fine, claim.values["owner"])),
        "parked_at": sa.case((~is_fine, now)),
        "last_error": sa.func.coalesce(problem, deliveries.c.last_error),
    }
    return claim._replace(values={**claim.values, **or_parked})


# How a claim ends: its owner writes that, under its token


def done(now: Now, lease_seconds: float, *, again: bool = False) -> Transition:
    """Running → done: the handler has succeeded.

    `again`: or it was done by this claim before, and the answer was lost. What was set then stays.
    """
    row = deliveries.c
    took = now - row.available_at + lease_seconds  # the lease has begun so long ago
    return Transition(
        when=~PARKED if again else PENDING,
        values={
            "completed_at": sa.func.coalesce(row.completed_at, now),
            "duration_seconds": sa.func.coalesce(row.duration_seconds, took),
            "available_at": None,
            "last_error": None,
        },
    )


def retrying(now: Now, error: str, seconds: float, *, is_away: bool = False) -> Transition:
    """Running → retrying: the attempt has failed, and the next one follows after so many seconds.

    An attempt that has failed because a resource `is_away` does not count.
    """
    due = {"available_at": now + seconds}
    return Transition(PENDING, {"owner": None, "last_error": error, **due, **_away(is_away)})


def parked(now: Now, error: str, *, is_away: bool = False) -> Transition:
    """Running → parked: the attempt has failed, and only an operator may decide on another one."""
    since = {"parked_at": now}
    return Transition(PENDING, {"owner": None, "last_error": error, **since, **_away(is_away)})


def unreadable(now: Now, error: str) -> Transition:
    """Running → parked: its event cannot be read, so that no attempt has begun."""
    return Transition(PENDING, {**parked(now, error).values, **_UNCOUNTED})


def released(lease_seconds: float) -> Transition:
    """Running → due: the claim is given back, and does not count. It is due since it was made."""
    row = deliveries.c
    due = row.available_at - lease_seconds + pause_of(row.handler)
    given_back = {"owner": None, "token": NEXT_TOKEN, "available_at": due}
    return Transition(PENDING, {**_UNCOUNTED, **given_back})


# What operators decide. A process that runs the delivery loses it, by the token


def retried(now: Now) -> Transition:
    """Not done → due, or blocked or paused as before: all its attempts are before it again."""
    due = {"available_at": now + pause_of(deliveries.c.handler)}
    return Transition(~FINISHED, {**_BEGUN_ANEW, **due})


def discarded(now: Now, *, reason: str | None = None) -> Transition:
    """Not done → discarded: it ends although its handler has not done it."""
    ended = {"completed_at": now, "discarded_at": now, "token": NEXT_TOKEN}
    why = {"last_error": reason} if reason else {}
    return Transition(
        ~FINISHED, ended | why | dict.fromkeys(("available_at", "parked_at", "owner"))
    )


def revoked(now: Now) -> Transition:
    """Running → due: the claim is taken from its process, which knows what is erased by now."""
    due = {"available_at": now + pause_of(deliveries.c.handler)}
    when = sa.and_(PENDING, deliveries.c.owner.is_not(None))
    return Transition(when, {**_UNCOUNTED, "owner": None, "token": NEXT_TOKEN, **due})


def replayed(now: Now, handler: sa.ColumnElement[str]) -> Transition:
    """Done → due: its handler does it once more, which is paused by its present name, if it is."""
    past = ("completed_at", "discarded_at", "duration_seconds", "previous_owner", "last_error")
    anew = {**_BEGUN_ANEW, **dict.fromkeys(past), "replay": True}
    when = sa.and_(FINISHED, deliveries.c.discarded_at.is_(None))
    return Transition(when, {**anew, "available_at": now + pause_of(handler)})


def held() -> Transition:
    """Due, scheduled, retrying or blocked → paused: claims do not come to it.

    What a process runs, has lost or is about to change is left alone: it is little.
    """
    due = deliveries.c.available_at
    when = sa.and_(PENDING, deliveries.c.owner.is_(None), due < PAUSE)
    return Transition(when, {"available_at": due + PAUSE})


def resumed() -> Transition:
    """Paused → what it would be if its handler had never been paused."""
    due = deliveries.c.available_at
    return Transition(sa.and_(PENDING, due > PAUSE), {"available_at": due - PAUSE})


def redacted(text: str, *, kept: str) -> Transition:
    """In any state: its last error may quote what is erased, unless it is one that is `kept`."""
    return Transition(deliveries.c.last_error != kept, {"last_error": text})


def event_redacted() -> Transition:
    """In any state: its event says something else now, and the page shall read it again."""
    return Transition(sa.true(), {"token": NEXT_TOKEN})


# Lanes


def blocked() -> Transition:
    """Due → blocked: an earlier one of its lane was stored after it. What runs goes on."""
    return Transition(sa.and_(IN_LANE, ~deliveries.c.blocked, IS_BEHIND), {"blocked": True})


def unblocked(now: Now) -> Transition:
    """Blocked → due: no earlier one of its lane is left. It was not due before that."""
    row = deliveries.c
    due = sa.case((row.available_at < now, now), else_=row.available_at)
    return Transition(sa.and_(~FINISHED, row.blocked), {"blocked": False, "available_at": due})


# Tests of applications


def aged(seconds: float) -> Transition:
    """In any state: so much time has passed, as far as the row knows."""
    due = deliveries.c.available_at
    return Transition(due.is_not(None), {"available_at": due - seconds})


def _away(is_away: bool) -> Mapping[str, Any]:
    more = {"unavailable_attempts": deliveries.c.unavailable_attempts + 1}
    return {**_UNCOUNTED, **more} if is_away else {}
