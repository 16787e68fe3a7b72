"""A trace as JSON for the browser: times in seconds, and without what is not there."""

from datetime import datetime
from typing import Any

import msgspec

from allocation.extensions.operations.causation_queries import Trace
from allocation.extensions.operations.causation_tree import TraceNode

MAX_BYTES = 65536


def to_json(trace: Trace, at: float | None = None) -> bytes:
    """Return a trace; of a very long one the beginning, and that there is more."""
    first = trace.nodes[0].completed_at if trace.nodes else None
    nodes: list[msgspec.Raw] = []
    size = 0
    for node in trace.nodes:
        nodes.append(msgspec.Raw(_json(node)))
        if (size := size + len(nodes[-1])) > MAX_BYTES:
            break
    more = len(nodes) < len(trace.nodes) or not trace.is_whole
    content = {"id": trace.id, "at": at or _plain(first), "more": more, "nodes": nodes}
    return msgspec.json.encode(content)


def _json(node: TraceNode) -> bytes:
    fields = msgspec.to_builtins(node, builtin_types=(datetime,))
    del fields["due_in"]  # the browser has a clock, too
    return msgspec.json.encode(_plain(fields))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.timestamp()
        case dict():
            return {key: _plain(each) for key, each in value.items() if each}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
