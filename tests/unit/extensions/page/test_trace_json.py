"""A trace as JSON for the browser."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from allocation.extensions.operations.causation_queries import Trace
from allocation.extensions.operations.causation_tree import FailedAttempt, TraceNode
from allocation.extensions.page.trace_json import MAX_BYTES, to_json

MOMENT = datetime(2026, 11, 25, 10, 0, 0, 500_000, UTC)


def a_delivery(number: int = 1, **more: Any) -> TraceNode:
    return TraceNode(kind="delivery", id=f"{number}:send", parent="1", name="send", **more)


def sent(*nodes: TraceNode, is_whole: bool = True) -> Any:
    return json.loads(to_json(Trace(UUID(int=1), nodes, is_whole), 5.0))


def test_times_are_seconds_and_what_is_not_there_is_left_out() -> None:
    """A browser has a clock of seconds, too, and a trace is sent often."""
    failure = FailedAttempt(attempt=1, failed_at=MOMENT, owner="w@h:1", error="no")
    [node] = sent(a_delivery(available_at=MOMENT, token=2, failures=(failure,)))["nodes"]

    assert node == {
        "kind": "delivery",
        "id": "1:send",
        "parent": "1",
        "name": "send",
        "state": "done",
        "token": 2,
        "available_at": MOMENT.timestamp(),
        "failures": [
            {"attempt": 1, "failed_at": MOMENT.timestamp(), "owner": "w@h:1", "error": "no"}
        ],
    }


def test_a_very_long_trace_is_cut_and_says_so() -> None:
    """Its beginning is sent: what is kept for all viewers has a size."""
    many = [a_delivery(number, error="x" * 1000) for number in range(100)]

    trace = sent(*many)

    assert trace["more"]
    assert 0 < len(trace["nodes"]) < len(many)
    assert len(json.dumps(trace)) < MAX_BYTES + 2000
    assert sent(a_delivery(), is_whole=False)["more"]
    assert not sent(a_delivery())["more"]
