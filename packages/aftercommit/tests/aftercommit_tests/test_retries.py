"""What comes after a failed attempt, and the life of a delivery as a table."""

from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from aftercommit.claims import Claim, DeliveryPolicy
from aftercommit.envelopes import EventId
from aftercommit.errors import HandlerTimeout, LeaseExpired, Unavailable
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aftercommit_tests.builders import POLICY, a_claim, an_envelope
from aftercommit_tests.transitions import TRANSITIONS, State, Step

TEMPORARY = OSError("the mail server is down")

few = settings(max_examples=40, deadline=None)


@st.composite
def policies(draw: st.DrawFn) -> DeliveryPolicy:
    """Draw any policy that the settings allow and that retries at least once."""
    base = draw(st.floats(0.001, 10**9))
    return replace(
        POLICY,
        retry_initial_seconds=base,
        retry_factor=draw(st.floats(1, 100)),
        retry_max_seconds=draw(st.floats(base, 10**9)),
        max_attempts=draw(st.integers(2, 1000)),
    )


def longest_pause(policy: DeliveryPolicy, attempt: int) -> float:
    pause = policy.retry_delay(a_claim(attempt=attempt), TEMPORARY, random=lambda: 1.0)
    assert pause is not None
    return pause


def reachable_from(start: State) -> set[State]:
    reached = {start}
    while more := {end for (source, _), end in TRANSITIONS.items() if source in reached} - reached:
        reached |= more
    return reached


def test_the_pause_grows_up_to_the_cap_until_no_attempt_is_left() -> None:
    """A short outage is bridged at once; a long one is not hammered on; none is tried for ever.

    README, docs/operations.md and settings.py say that all takes 1¾ to 3½ hours: to a quarter.
    """
    attempts = [a_claim(attempt=n) for n in range(1, 11)]
    shortest, longest = (
        [POLICY.retry_delay(each, TEMPORARY, random=partial(float, draw)) for each in attempts]
        for draw in (0.0, 1.0)
    )

    assert longest == [1, 4, 16, 64, 256, 1024, 3600, 3600, 3600, None]
    hours = [sum(filter(None, each)) / 3600 for each in (shortest, longest)]
    assert [round(each * 4) / 4 for each in hours] == [1.75, 3.5]


@given(policy=policies(), attempt=st.integers(1, 1000), draw=st.floats(0, 1))
@example(
    policy=replace(POLICY, retry_factor=100.0, max_attempts=1000), attempt=999, draw=1.0
)  # 100**998 does not fit into a float
@few
def test_jitter_draws_each_pause_from_its_upper_half_below_the_cap(
    policy: DeliveryPolicy, attempt: int, draw: float
) -> None:
    """No setting makes us hammer on a server, or wait longer than the operator said.

    Deliveries that failed together would otherwise come back together, and fail again.
    """
    attempt = min(attempt, policy.max_attempts - 1)

    pause = policy.retry_delay(a_claim(attempt=attempt), TEMPORARY, random=lambda: draw)

    longest = longest_pause(policy, attempt)
    assert longest_pause(policy, max(attempt - 1, 1)) <= longest  # more often failed, less asked
    assert pause == pytest.approx(longest / 2 + draw * longest / 2)
    assert policy.retry_initial_seconds <= longest <= policy.retry_max_seconds


@given(policy=policies(), beyond=st.integers(0, 1000))
@example(policy=replace(POLICY, max_attempts=1), beyond=0)  # where counting from zero would show
@few
def test_after_the_last_attempt_the_delivery_is_parked(policy: DeliveryPolicy, beyond: int) -> None:
    """Also if the operator lowers the limit below what was already tried."""
    last = a_claim(attempt=policy.max_attempts + beyond)

    assert policy.retry_delay(last, TEMPORARY, random=lambda: 1.0) is None


def test_a_resource_that_is_away_is_never_parked_by_counting() -> None:
    """A mail server that is away over a weekend must not leave thousands for a person."""
    away = Unavailable("connection refused")
    first, last = a_claim(), a_claim(attempt=POLICY.max_attempts)

    def delay(delivery: Claim, times: int) -> float | None:
        waiting = replace(delivery, unavailable_attempts=times)
        return POLICY.retry_delay(waiting, away, random=lambda: 1.0)

    assert [delay(first, times) for times in range(4)] == [1.0, 4.0, 16.0, 64.0]
    assert delay(last, 10_000) == POLICY.retry_max_seconds


@pytest.mark.parametrize("error", [HandlerTimeout("h", 1.0), LeaseExpired("h"), TimeoutError()])
def test_what_may_be_the_fault_of_the_handler_counts(error: Exception) -> None:
    """A handler that is always too slow would otherwise be tried for ever."""
    last = a_claim(attempt=POLICY.max_attempts)

    assert POLICY.retry_delay(last, error, random=lambda: 1.0) is None


def test_an_idempotency_key_is_the_same_in_each_attempt_and_each_release() -> None:
    """It is how a mail server recognizes the e-mail that it has already sent, and no other."""
    event_id = EventId(UUID("12345678-1234-5678-1234-567812345678"))
    envelope = replace(an_envelope(), id=event_id)
    claims = [Claim(envelope=envelope, handler="announce", attempt=n) for n in (1, 2)]

    assert {claim.idempotency_key for claim in claims} == {f"{event_id}:announce"}


def test_the_table_of_transitions_has_no_trap_and_nothing_that_cannot_happen() -> None:
    """A delivery that cannot move, or only in a circle, is an e-mail nobody will ever get."""
    assert reachable_from(State.NONE) == set(State)
    assert [state for state in State if State.DONE not in reachable_from(state)] == []
    assert {step for _, step in TRANSITIONS} == set(Step)
