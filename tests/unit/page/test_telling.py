"""How a story is told to the browser."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from allocation.adapters.operations.trees import FailedAttempt, TraceNode
from allocation.adapters.page.stories import Story
from allocation.entrypoints.page.telling import MAX_BYTES, told

MOMENT = datetime(2026, 11, 25, 10, 0, 0, 500_000, UTC)


def a_delivery(number: int = 1, **more: Any) -> TraceNode:
    return TraceNode(kind="delivery", id=f"{number}:send", parent="1", name="send", **more)


def retold(*nodes: TraceNode, is_whole: bool = True) -> Any:
    return json.loads(told(Story(UUID(int=1), nodes, is_whole), 5.0))


def test_times_are_seconds_and_what_is_not_there_is_left_out() -> None:
    """A browser has a clock of seconds, too, and a story is sent often."""
    failure = FailedAttempt(attempt=1, failed_at=MOMENT, process="w@h:1", error="no")
    [node] = retold(a_delivery(due_at=MOMENT, token=2, failures=(failure,)))["nodes"]

    assert node == {
        "kind": "delivery",
        "id": "1:send",
        "parent": "1",
        "name": "send",
        "state": "done",
        "token": 2,
        "due_at": MOMENT.timestamp(),
        "failures": [
            {"attempt": 1, "failed_at": MOMENT.timestamp(), "process": "w@h:1", "error": "no"}
        ],
    }


def test_a_very_long_story_is_cut_and_says_so() -> None:
    """Its beginning is told: what is kept for all viewers has a size."""
    many = [a_delivery(number, error="x" * 1000) for number in range(100)]

    story = retold(*many)

    assert story["more"]
    assert 0 < len(story["nodes"]) < len(many)
    assert len(json.dumps(story)) < MAX_BYTES + 2000
    assert retold(a_delivery(), is_whole=False)["more"]
    assert not retold(a_delivery())["more"]
