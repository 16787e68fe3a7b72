"""How a story is told to the browser: JSON, times in seconds, and without what is not there."""

from datetime import datetime
from typing import Any

import msgspec

from allocation.adapters.operations.trees import FailedAttempt, TraceNode
from allocation.adapters.page.stories import Story

MAX_BYTES = 65536
FIELDS = ("kind", "id", "parent", "name", "state", "attempts", "token", "seconds", "process")
TIMES = ("due_at", "finished_at", "parked_at")


def told(story: Story, at: float | None = None) -> bytes:
    """Return the story as JSON; of a very long one the beginning, and that there is more."""
    first = story.nodes[0].finished_at if story.nodes else None
    nodes: list[msgspec.Raw] = []
    size = 0
    for node in story.nodes:
        nodes.append(msgspec.Raw(msgspec.json.encode(_node(node))))
        if (size := size + len(nodes[-1])) > MAX_BYTES:
            break
    more = len(nodes) < len(story.nodes) or not story.is_whole
    content = {"id": story.id, "at": at or _seconds(first), "more": more, "nodes": nodes}
    return msgspec.json.encode(content)


def _node(node: TraceNode) -> dict[str, Any]:
    fields = {name: getattr(node, name) for name in (*FIELDS, "error", "about")}
    times = {name: _seconds(getattr(node, name)) for name in TIMES}
    failures = [_failure(failure) for failure in node.failures]
    return {key: v for key, v in (fields | times | {"failures": failures}).items() if v}


def _failure(failure: FailedAttempt) -> dict[str, Any]:
    return {
        "attempt": failure.attempt,
        "failed_at": _seconds(failure.failed_at),
        "process": failure.process,
        "error": failure.error,
    }


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
