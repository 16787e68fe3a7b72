"""What comes after a failed attempt, and the life of a delivery as a table."""

from dataclasses import replace
from functools import partial

import pytest
from aftercommit import Unavailable
from aftercommit.errors import HandlerTimeout, LeaseExpired
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aftercommit_tests.builders import POLICY, a_claim
from aftercommit_tests.inside.claims import DeliveryPolicy
from aftercommit_tests.transitions import TRANSITIONS, State, Step

TEMPORARY = OSError("the mail server is down")


def delay(
    policy: DeliveryPolicy = POLICY,
    error: Exception = TEMPORARY,
    *,
    draw: float = 1.0,
    attempt: int = 1,
    times_away: int = 0,
) -> float | None:
    """Return the delay before the next attempt of a delivery."""
    claim = replace(a_claim(attempt=attempt), unavailable_attempts=times_away)
    return policy.retry_delay(claim, error, random=lambda: draw)


def test_the_pause_grows_up_to_the_cap_until_no_attempt_is_left() -> None:
    """A short outage is bridged at once; a long one is not hammered on; none is tried forever.

    The life of a delivery and settings.py say that all takes 1¾ to 3½ hours: to a quarter.
    """
    shortest, longest = ([delay(draw=d, attempt=n) for n in range(1, 11)] for d in (0.0, 1.0))

    assert longest == [1, 4, 16, 64, 256, 1024, 3600, 3600, 3600, None]
    hours = [sum(filter(None, each)) / 3600 for each in (shortest, longest)]
    assert [round(each * 4) / 4 for each in hours] == [1.75, 3.5]


@st.composite
def policies(draw: st.DrawFn) -> DeliveryPolicy:
    """Draw any policy that the settings allow."""
    base = draw(st.floats(0.001, 10**9))
    return replace(
        POLICY,
        retry_initial_seconds=base,
        retry_factor=draw(st.floats(1, 100)),
        retry_max_seconds=draw(st.floats(base, 10**9)),
        max_attempts=draw(st.integers(1, 1000)),
    )


@given(policy=policies(), attempt=st.integers(1, 1100), draw=st.floats(0, 1))
@example(
    policy=replace(POLICY, retry_factor=100.0, max_attempts=1000), attempt=999, draw=1.0
)  # 100**998 does not fit into a float
@example(policy=replace(POLICY, max_attempts=1), attempt=1, draw=0.0)  # not counted from zero
@settings(max_examples=80, deadline=None)
def test_jitter_draws_each_pause_from_its_upper_half_below_the_cap(
    policy: DeliveryPolicy, attempt: int, draw: float
) -> None:
    """No setting makes us hammer on a server, or wait longer than the operator said.

    Deliveries that failed together would otherwise come back together, and fail again. After the
    last attempt, there is none, also if the operator lowers the limit below what was tried.
    """
    found, longest = delay(policy, draw=draw, attempt=attempt), delay(policy, attempt=attempt)

    if attempt >= policy.max_attempts:
        assert found is longest is None
        return
    before = delay(policy, attempt=max(attempt - 1, 1))
    assert before is not None
    assert longest is not None
    assert before <= longest  # more often failed, less asked
    assert found == pytest.approx(longest / 2 + draw * longest / 2)
    assert policy.retry_initial_seconds <= longest <= policy.retry_max_seconds


def test_a_resource_that_is_away_is_never_parked_by_counting() -> None:
    """A mail server that is down over a weekend must not leave thousands for an operator."""
    away = partial(delay, error=Unavailable("connection refused"))

    assert [away(times_away=times) for times in range(4)] == [1.0, 4.0, 16.0, 64.0]
    last = away(attempt=POLICY.max_attempts, times_away=10_000)
    assert last == POLICY.retry_max_seconds


@pytest.mark.parametrize(
    "error", [HandlerTimeout("h", 1.0), LeaseExpired("h", "e"), TimeoutError()]
)
def test_what_may_be_the_fault_of_the_handler_counts(error: Exception) -> None:
    """A handler that is always too slow would otherwise be tried forever."""
    assert delay(error=error, attempt=POLICY.max_attempts) is None


def reachable_from(start: State) -> set[State]:
    reached = {start}
    while more := {end for source, _, end in TRANSITIONS if source in reached} - reached:
        reached |= more
    return reached


def test_the_table_of_transitions_has_no_trap_and_nothing_that_cannot_happen() -> None:
    """A delivery that cannot move, or only in a circle, is an e-mail nobody will ever get."""
    assert reachable_from(State.NONE) == set(State)
    stuck = [state for state in State if State.DONE not in reachable_from(state)]
    assert {*stuck} == {State.DISCARDED, State.GIVEN_UP}  # an operator's end, and the program's
    assert {step for _, step, _ in TRANSITIONS} == set(Step)
