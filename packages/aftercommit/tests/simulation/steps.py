"""The steps of a delivery as its row shows them: those of the table of transitions, and no others.

A row says no more than the ledger has to know: whether what waits is due, or a lease has expired,
is told by a clock.
"""

from collections.abc import Iterator

from aftercommit_tests.transitions import TRANSITIONS, State

from simulation.rows import Row

WAITS, CLAIMED = "waits", "claimed"
SEEN_AS = {
    State.SCHEDULED: WAITS,
    State.DUE: WAITS,
    State.RETRYING: WAITS,
    State.RUNNING: CLAIMED,
    State.LEASE_EXPIRED: CLAIMED,
}


def seen_as(state: State) -> str:
    """Return what a row shows of a state."""
    return SEEN_AS.get(state, state.value)


def state_of(row: Row | None) -> str:
    """Return what this row shows."""
    if row is None:
        return State.NONE.value
    for is_so, state in (
        (row.discarded_at is not None, State.DISCARDED),
        (not row.is_open and row.given_up is not None, State.GIVEN_UP),
        (not row.is_open, State.DONE),
        (row.parked_at is not None, State.PARKED),
        (row.owner is not None, State.RUNNING),
        (row.is_held, State.PAUSED),
        (row.blocked, State.BLOCKED),
    ):
        if is_so:
            return seen_as(state)
    return WAITS


def _possible() -> Iterator[tuple[str, str]]:
    """Yield what one commit can do to a row."""
    held_up = State.PAUSED.value, State.BLOCKED.value  # in place of being due
    for before, _, after in TRANSITIONS:
        yield seen_as(before), seen_as(after)
        if after is State.DUE:
            yield from ((seen_as(before), instead) for instead in held_up)
    yield State.BLOCKED.value, CLAIMED  # unblocked and claimed, by who has done the one before it
    for each in (WAITS, *held_up):  # its claim has failed, or so it was stored; that is made up for
        yield each, State.DONE.value


POSSIBLE = frozenset(_possible())
