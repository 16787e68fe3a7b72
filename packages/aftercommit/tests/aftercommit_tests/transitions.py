"""The life of a delivery, as a table: the diagram is made of it, `states.py` does it."""

from enum import Enum


class State(Enum):
    """Where a delivery stands, as every surface names it. There is no row in NONE."""

    NONE = "not stored"
    SCHEDULED = "scheduled"
    DUE = "due"
    RUNNING = "running"
    LEASE_EXPIRED = "lease_expired"
    RETRYING = "retrying"
    BLOCKED = "blocked"
    PAUSED = "paused"
    PARKED = "parked"
    DONE = "done"
    DISCARDED = "discarded"
    GIVEN_UP = "given_up"


class Step(Enum):
    """What can happen to a delivery, and which function of `states.py` says how."""

    COMMIT = "the event is committed: attempt 1", "new_and_claimed"
    COMMIT_FOR_WORKERS = "the event is committed, dispatch is left to workers", "new"
    COMMIT_FOR_LATER = "the event is committed, the handler is delayed", "new"
    COMMIT_BEHIND = "the event is committed, an earlier delivery of its lane is not done", "new"
    OWE_LATER = "its event is replayed to a handler that was added later", "new"
    CLAIM = "claimed, attempts are left: attempt + 1", "claimed"
    EXHAUST = "its last attempt did not finish", "claimed_or_parked"
    SUCCEED = "the handler succeeds", "done"
    FAIL = "the handler fails, attempts are left", "retrying"
    END_OTHERWISE = "the same, and something else follows instead: attempts = 0", "given_up"
    SUCCEED_INSTEAD = "what happens instead succeeds", "done"
    GIVE_UP = "a permanent error, or the last attempt fails", "parked"
    REFUSE = "its event cannot be read: the attempt does not count", "unreadable"
    RELEASE = "released: the attempt does not count", "released"
    PLACE = "first in its lane when its session commits", "placed"
    UNBLOCK = "the last delivery before it is done or discarded", "unblocked"
    BLOCK = "an earlier delivery of its lane is replayed", "blocked"
    RETRY = "retried by an operator: attempts = 0", "retried"
    DISCARD = "discarded by an operator", "discarded"
    REVOKE = "revoked by an operator, who erases personal data", "revoked"
    REPLAY = "replayed by an operator: attempts = 0", "replayed"
    PAUSE = "paused", "held"
    RESUME = "resumed", "resumed"
    RESUME_BEFORE = "resumed, delay not over", "resumed"

    def __init__(self, text: str, function: str) -> None:
        self.text, self.function = text, function


KEEP_THE_STATE = {"redacted", "event_redacted", "aged"}  # functions: the last lets time pass
BY_OWNERS = {Step.SUCCEED, Step.FAIL, Step.GIVE_UP, Step.REFUSE, Step.RELEASE}
BY_OWNERS |= {Step.END_OTHERWISE, Step.SUCCEED_INSTEAD}
"""Steps that the owner of a claim makes, under its token."""
NOT_DONE = set(State) - {State.NONE, State.DONE, State.DISCARDED, State.GIVEN_UP}
WAITING = {State.SCHEDULED, State.DUE, State.RETRYING}
CLAIMABLE = {State.DUE, State.LEASE_EXPIRED}
CLAIMED = {State.RUNNING, State.LEASE_EXPIRED}  # the owner is late, and nobody has taken it over

TRANSITIONS: set[tuple[State, Step, State]] = {
    (State.NONE, Step.COMMIT, State.RUNNING),
    (State.NONE, Step.COMMIT_FOR_WORKERS, State.DUE),
    (State.NONE, Step.COMMIT_FOR_LATER, State.SCHEDULED),
    (State.NONE, Step.COMMIT_BEHIND, State.BLOCKED),
    (State.NONE, Step.OWE_LATER, State.DUE),
    *((state, Step.CLAIM, State.RUNNING) for state in CLAIMABLE),
    *((state, Step.EXHAUST, State.PARKED) for state in CLAIMABLE),
    *((state, Step.SUCCEED, State.DONE) for state in CLAIMED),
    *((state, Step.FAIL, State.RETRYING) for state in CLAIMED),
    *((state, Step.END_OTHERWISE, State.DUE) for state in CLAIMED),
    *((state, Step.SUCCEED_INSTEAD, State.GIVEN_UP) for state in CLAIMED),
    *((state, Step.GIVE_UP, State.PARKED) for state in CLAIMED),
    *((state, Step.REFUSE, State.PARKED) for state in CLAIMED),
    *((state, Step.RELEASE, State.DUE) for state in CLAIMED),
    *((state, Step.REVOKE, State.DUE) for state in CLAIMED),
    (State.BLOCKED, Step.PLACE, State.DUE),
    (State.BLOCKED, Step.UNBLOCK, State.DUE),
    *((state, Step.BLOCK, State.BLOCKED) for state in WAITING | {State.LEASE_EXPIRED}),
    *((state, Step.BLOCK, state) for state in (State.RUNNING, State.PAUSED, State.PARKED)),
    *((state, Step.RETRY, State.DUE) for state in WAITING | CLAIMED | {State.PARKED}),
    *((state, Step.RETRY, state) for state in (State.BLOCKED, State.PAUSED)),
    *((state, Step.DISCARD, State.DISCARDED) for state in NOT_DONE),
    (State.DONE, Step.REPLAY, State.DUE),
    *((state, Step.PAUSE, State.PAUSED) for state in WAITING | {State.BLOCKED}),
    (State.LEASE_EXPIRED, Step.PAUSE, State.PAUSED),
    *((State.PAUSED, Step.RESUME, state) for state in (State.DUE, State.RETRYING, State.BLOCKED)),
    (State.PAUSED, Step.RESUME, State.LEASE_EXPIRED),
    (State.PAUSED, Step.RESUME_BEFORE, State.SCHEDULED),
}
