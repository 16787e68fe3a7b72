"""When writes count as refused: not at the first failure, and not for ever."""

import pytest
from aftercommit.extensions.metrics.observer import FAILING_SECONDS, RECENT_SECONDS, WriteHealth

FOR_LONG = ["failed", FAILING_SECONDS, "failed"]


@pytest.mark.parametrize(
    ("steps", "failing"),
    [
        (["failed"], None),  # it may be a moment's trouble
        (["failed", FAILING_SECONDS], None),  # nobody has tried again
        (FOR_LONG, FAILING_SECONDS),
        ([*FOR_LONG, "succeeded"], None),
        # a process that is not ready is sent nothing, so it would never learn that all is well
        ([*FOR_LONG, RECENT_SECONDS], None),
    ],
    ids=str,
)
def test_writes_fail_if_they_have_failed_for_seconds_and_did_a_moment_ago(
    steps: list[str | float], failing: float | None
) -> None:
    """In a row; a step is a write, or so many seconds."""
    now = 1000.0
    health = WriteHealth(lambda: now)

    for step in steps:
        match step:
            case "failed":
                health.failed()
            case "succeeded":
                health.succeeded()
            case _:
                now += float(step)

    assert health.failing_seconds() == failing
