"""The leaky bucket: no minute of the clock has too many claims, whenever they are made."""

from bisect import bisect_right
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aftercommit_tests.inside.claims import limits

NOW = 1_780_000_000.0
GRID = 2.0**-22  # of a clock in seconds since 1970
numbers = st.integers(1, 5000)
pauses = st.floats(0, 90) | st.just(0.0) | st.integers(0, 10).map(lambda n: n * GRID)


def fresh(per_minute: int) -> limits.LimitUse:
    limit = limits.Limit("bell", None, per_minute)
    return limits.LimitUse(limit=limit, now=NOW, running=0, next_end=None, tat=0.0, claimed_at=None)


def claimed(use: limits.LimitUse, number: int, *, after: float) -> limits.LimitUse:
    """Return the use when time has passed and so many were claimed."""
    use = replace(use, now=use.now + after)
    return replace(use, tat=use.after(number), claimed_at=use.now)


@settings(deadline=None)
@given(numbers, st.lists(st.tuples(pauses, st.booleans(), st.integers(1, 500)), max_size=60))
def test_no_half_open_minute_has_more_claims(
    per_minute: int, steps: list[tuple[float, bool, int]]
) -> None:
    """Whether one waits for the exact moment of the next permit, or for any other time."""
    use, times = fresh(per_minute), list[float]()

    for pause, waits_for_permit, wanted in steps:
        wait = max(0.0, use.permit_at - use.now) if waits_for_permit else pause
        use = replace(use, now=use.now + wait)
        assert not waits_for_permit or use.permits >= 1
        number = int(min(wanted, use.permits))
        use = claimed(use, number, after=0)
        times += [use.now] * number

    for end, time in enumerate(times, 1):
        assert end - bisect_right(times, time - 60.0) <= per_minute  # in (time - 60, time]


@settings(deadline=None)
@given(numbers)
def test_a_minute_that_begins_with_a_burst_has_nearly_all(per_minute: int) -> None:
    """All who claim as soon as they may, for a minute, get nearly what it says, and no more."""
    use, count = fresh(per_minute), 0
    while use.now < NOW + 60:
        count += (number := int(use.permits))
        use = claimed(use, number, after=0)
        use = replace(use, now=max(use.permit_at, use.now))

    assert per_minute * 11 // 12 <= count <= per_minute
    assert 60 / use.interval >= (per_minute + 1) * 11 // 12 * 0.999


def test_what_a_limit_allows_is_said_in_words() -> None:
    """They stand in lists, and are the reason why something waits."""
    limit = limits.Limit("bell", 5, 120)
    use = replace(fresh(120), limit=limit, running=5, next_end=NOW + 9, tat=NOW + 4.0)

    assert str(use) == "5 of 5 running; 2 may begin now, of 120 a minute"
    assert use.permits == 0
    assert use.permit_at == NOW + 9
    assert replace(use, running=4).permits == 1
