"""The life of a delivery, as a table: what the diagram is made of."""

from enum import Enum


class State(Enum):
    """Where a delivery stands. There is no row in NONE."""

    NONE = "not stored"
    RUNNING = "running"
    PENDING = "pending"
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    PAUSED = "paused"
    PARKED = "parked"
    DONE = "done"


class Step(Enum):
    """What can happen to a delivery."""

    COMMIT = "the event is committed: attempt 1"
    COMMIT_FOR_WORKERS = "the event is committed, dispatch is left to workers"
    COMMIT_FOR_LATER = "the event is committed, the handler is delayed"
    COMMIT_BEHIND = "the event is committed, an earlier one of its lane is not done"
    UNBLOCK = "the last one before it is done or discarded"
    SUCCEED = "the handler succeeds"
    FAIL = "the handler fails, attempts are left"
    GIVE_UP = "a permanent error, or the last attempt fails"
    RELEASE = "released: the attempt does not count"
    CLAIM = "claimed, attempts are left: attempt + 1"
    EXHAUST = "its last attempt did not finish"
    RETRY = "retried by a person: attempts = 0"
    DISCARD = "discarded by a person"
    OWE_LATER = "replayed to a handler that was added later"
    PAUSE = "its handler is paused"
    RESUME = "its handler is resumed"
    RESUME_BEFORE = "its handler is resumed before it was due at all"
    REPLAY = "replayed by a person: attempts = 0"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.NONE, Step.COMMIT): State.RUNNING,
    (State.NONE, Step.COMMIT_FOR_WORKERS): State.PENDING,
    (State.NONE, Step.COMMIT_FOR_LATER): State.SCHEDULED,
    (State.NONE, Step.COMMIT_BEHIND): State.BLOCKED,
    (State.NONE, Step.OWE_LATER): State.PENDING,
    (State.RUNNING, Step.SUCCEED): State.DONE,
    (State.RUNNING, Step.FAIL): State.PENDING,
    (State.RUNNING, Step.GIVE_UP): State.PARKED,
    (State.RUNNING, Step.RELEASE): State.PENDING,
    (State.RUNNING, Step.CLAIM): State.RUNNING,
    (State.RUNNING, Step.EXHAUST): State.PARKED,
    (State.RUNNING, Step.RETRY): State.PENDING,
    (State.RUNNING, Step.DISCARD): State.DONE,
    (State.PENDING, Step.CLAIM): State.RUNNING,
    (State.PENDING, Step.EXHAUST): State.PARKED,
    (State.PENDING, Step.RETRY): State.PENDING,
    (State.PENDING, Step.DISCARD): State.DONE,
    (State.PENDING, Step.PAUSE): State.PAUSED,
    (State.SCHEDULED, Step.CLAIM): State.RUNNING,
    (State.SCHEDULED, Step.RETRY): State.PENDING,
    (State.SCHEDULED, Step.DISCARD): State.DONE,
    (State.SCHEDULED, Step.PAUSE): State.PAUSED,
    (State.BLOCKED, Step.UNBLOCK): State.PENDING,
    (State.BLOCKED, Step.RETRY): State.BLOCKED,
    (State.BLOCKED, Step.DISCARD): State.DONE,
    (State.PAUSED, Step.RESUME): State.PENDING,
    (State.PAUSED, Step.RESUME_BEFORE): State.SCHEDULED,
    (State.PAUSED, Step.RETRY): State.PAUSED,
    (State.PAUSED, Step.DISCARD): State.DONE,
    (State.PARKED, Step.RETRY): State.PENDING,
    (State.PARKED, Step.DISCARD): State.DONE,
    (State.DONE, Step.REPLAY): State.PENDING,
}
