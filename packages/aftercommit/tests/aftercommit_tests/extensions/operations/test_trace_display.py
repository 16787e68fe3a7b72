"""From nodes to lines: what a person reads of a trace, once or following it."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from uuid import UUID

import pytest
from aftercommit.extensions.operations.causation_queries import Traces
from aftercommit.extensions.operations.causation_tree import Node
from aftercommit.extensions.operations.trace_display import display, plain_lines, render_tree

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVENT = Node(
    kind="event",
    id="3c1f0000-0000-4000-8000-000000000000",
    parent=None,
    correlation_id=UUID(int=9),
    name="thing_made",
    state="done",
    failures=(),
    about="lamp",
)
DONE = replace(EVENT, kind="delivery", id="a", name="a", parent=EVENT.id, attempts=1, about="")
RUNNING = replace(DONE, id="b", name="b", state="running", owner="host:1", available_at=NOON)
BEFORE = Traces([EVENT, DONE, RUNNING], is_whole=True, read_at=NOON)
LATER = BEFORE._replace(read_at=NOON + timedelta(seconds=1))
AFTER = BEFORE._replace(nodes=[EVENT, DONE, replace(RUNNING, state="done")])


def lines(*nodes: Node) -> list[str]:
    return [*plain_lines(render_tree(BEFORE._replace(nodes=nodes)))]


def test_json_has_a_line_for_each_node_that_is_new_or_has_changed() -> None:
    """That time passes is no change."""
    with display(as_json=True) as changes:
        first = [json.loads(line) for line in changes(BEFORE)]
        assert [node["name"] for node in first] == ["thing_made", "a", "b"]
        assert list(changes(LATER)) == []
        [changed] = map(json.loads, changes(AFTER))
    assert (changed["id"], changed["state"]) == ("b", "done")


def test_text_in_a_pipe_is_the_tree_again_when_it_has_changed() -> None:
    """A log of it can be read."""
    with display() as changes:
        assert list(changes(BEFORE)) == lines(*BEFORE.nodes)
        assert list(changes(LATER)) == []
        assert list(changes(AFTER)) == ["", *lines(*AFTER.nodes)]


class Terminal(StringIO):
    """What somebody looks at: two lines are to be seen at a time."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_on_a_terminal_the_tree_is_redrawn_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that is too low sees a part, and all of it at last."""
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "2"}.items():
        monkeypatch.setenv(name, value)

    with display() as changes:
        assert list(changes(BEFORE)) == []
        first = terminal.getvalue()
        assert list(changes(AFTER)) == []
    last = re.sub(r"\x1b\[\d*m", "", terminal.getvalue().removeprefix(first))

    assert "└── b" not in first
    assert "\x1b[1A" in last
    assert all(line in last for line in lines(*AFTER.nodes))
