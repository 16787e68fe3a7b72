"""Whatever works through many rows is killed at every step, and then repeated."""

import pytest

from aftercommit_tests.crashing import FORGETTING, REPLAYING
from aftercommit_tests.processes import Installation

REPLAY = ("deliveries", "replay", "write_down")
PRUNE = ("events", "prune", "--older-than", "0s")
WORK = ("worker", "--until-idle")
DISCARD_LATER = "UPDATE aftercommit_deliveries SET completed_at = 0 WHERE handler = 'forget'"


@pytest.fixture
def with_two(on_each: Installation) -> Installation:
    """An installation with two things, about which everything is done."""
    on_each.succeed("make-things", "2")
    on_each.change(DISCARD_LATER)
    return on_each


@pytest.mark.parametrize("point", REPLAYING)
def test_a_replay_survives_a_kill(point: str, with_two: Installation) -> None:
    """Each past event is done by the handler that was added later, and by no second delivery."""
    with_two.change("DELETE FROM aftercommit_deliveries WHERE handler = 'write_down'")
    with_two.crash(point, *REPLAY)

    with_two.succeed(*REPLAY)

    with_two.succeed(*WORK)
    assert with_two.lines == ["thing 1", "thing 1", "thing 2", "thing 2"]


@pytest.mark.parametrize("point", FORGETTING)
def test_pruning_survives_a_kill(point: str, with_two: Installation) -> None:
    """What owes nothing is gone whole, what owes something is there whole, and is done."""
    with_two.succeed("make-thing", "lamp", dispatch="worker")
    with_two.crash(point, *PRUNE)
    stored = "SELECT id FROM aftercommit_events"
    assert with_two.count(f"aftercommit_deliveries WHERE event_id NOT IN ({stored})") == 0

    with_two.succeed(*PRUNE)

    assert with_two.count("aftercommit_events") == with_two.count("aftercommit_commands") == 1
    with_two.succeed(*WORK)
    assert with_two.lines == ["lamp", "thing 1", "thing 2"]
    with_two.change(DISCARD_LATER)
    with_two.succeed(*PRUNE)
    for table in ("aftercommit_events", "aftercommit_deliveries", "aftercommit_commands"):
        assert with_two.count(table) == 0
