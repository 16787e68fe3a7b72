"""The life of a delivery, as a table: what the model test walks and the diagram is made of."""

from enum import Enum


class State(Enum):
    """Where a delivery stands. There is no row in NONE."""

    NONE = "not stored"
    LEASED = "leased"
    WAITING = "waiting"
    SCHEDULED = "scheduled"
    PAUSED = "paused"
    PARKED = "parked"
    DONE = "done"


class Step(Enum):
    """What can happen to a delivery."""

    COMMIT = "the event is committed: attempt 1"
    COMMIT_FOR_WORKERS = "the event is committed, dispatch is left to workers"
    COMMIT_FOR_LATER = "the event is committed, the handler is for later"
    SUCCEED = "the handler succeeds"
    FAIL = "the handler fails, attempts are left"
    GIVE_UP = "a permanent error, or the last attempt fails"
    RELEASE = "the owner stops and gives it back: the attempt does not count"
    CLAIM = "it is due, attempts are left: attempt + 1"
    EXHAUST = "it is due, but its last attempt did not finish"
    RETRY = "retried by hand: attempts = 0"
    DISCARD = "discarded by hand"
    OWE_LATER = "replayed to a handler that was added later"
    PAUSE = "its handler is paused"
    RESUME = "its handler is resumed"
    RESUME_BEFORE = "its handler is resumed before it was due at all"
    REPLAY = "replayed by hand: attempts = 0"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.NONE, Step.COMMIT): State.LEASED,
    (State.NONE, Step.COMMIT_FOR_WORKERS): State.WAITING,
    (State.NONE, Step.COMMIT_FOR_LATER): State.SCHEDULED,
    (State.NONE, Step.OWE_LATER): State.WAITING,
    (State.LEASED, Step.SUCCEED): State.DONE,
    (State.LEASED, Step.FAIL): State.WAITING,
    (State.LEASED, Step.GIVE_UP): State.PARKED,
    (State.LEASED, Step.RELEASE): State.WAITING,
    (State.LEASED, Step.CLAIM): State.LEASED,
    (State.LEASED, Step.EXHAUST): State.PARKED,
    (State.LEASED, Step.RETRY): State.WAITING,
    (State.LEASED, Step.DISCARD): State.DONE,
    (State.WAITING, Step.CLAIM): State.LEASED,
    (State.WAITING, Step.EXHAUST): State.PARKED,
    (State.WAITING, Step.RETRY): State.WAITING,
    (State.WAITING, Step.DISCARD): State.DONE,
    (State.WAITING, Step.PAUSE): State.PAUSED,
    (State.SCHEDULED, Step.CLAIM): State.LEASED,
    (State.SCHEDULED, Step.RETRY): State.WAITING,
    (State.SCHEDULED, Step.DISCARD): State.DONE,
    (State.SCHEDULED, Step.PAUSE): State.PAUSED,
    (State.PAUSED, Step.RESUME): State.WAITING,
    (State.PAUSED, Step.RESUME_BEFORE): State.SCHEDULED,
    (State.PAUSED, Step.RETRY): State.PAUSED,
    (State.PAUSED, Step.DISCARD): State.DONE,
    (State.PARKED, Step.RETRY): State.WAITING,
    (State.PARKED, Step.DISCARD): State.DONE,
    (State.DONE, Step.REPLAY): State.WAITING,
}
