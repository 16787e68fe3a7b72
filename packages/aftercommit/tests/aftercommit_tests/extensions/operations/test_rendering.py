"""From nodes to lines: what a person reads."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from aftercommit.extensions.operations.causation_queries import Traces
from aftercommit.extensions.operations.causation_tree import FailedAttempt, Node
from aftercommit.extensions.operations.cli import history_table
from aftercommit.extensions.operations.command_history import AcceptedCommand
from aftercommit.extensions.operations.trace_display import display, plain_lines, render_tree
from rich.console import Console

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
COMMAND = Node(
    kind="command",
    id="5f2c0000-0000-4000-8000-000000000000",
    parent=None,
    correlation_id=UUID(int=9),
    name="register_user",
    state="done",
    failures=(),
    completed_at=NOON,
    about="cli",
)
EVENT = Node(
    kind="event",
    id="3c1f0000-0000-4000-8000-000000000000",
    parent=COMMAND.id,
    correlation_id=UUID(int=9),
    name="user_registered",
    state="done",
    failures=(),
    completed_at=NOON,
    about="Иван <ivan@example.com>",
)
ROOT = replace(EVENT, parent=None)


def a_delivery(name: str = "send_welcome_email", **values: Any) -> Node:
    defaults: dict[str, Any] = {"parent": EVENT.id, "attempts": 1, "owner": "host:1"}
    defaults |= {"state": "done", "failures": ()}
    node: dict[str, Any] = {"kind": "delivery", "id": f"{EVENT.id}:{name}", "name": name}
    node |= {"correlation_id": EVENT.correlation_id}
    return Node(**{**defaults, **node, **values})


def a_failure(attempt: int = 1, error: str = "OSError: no", **values: Any) -> FailedAttempt:
    defaults: dict[str, Any] = {"failed_at": NOON, "owner": "worker-1@host:1"}
    return FailedAttempt(attempt=attempt, error=error, **{**defaults, **values})


def at_noon(nodes: Sequence[Node]) -> Traces:
    return Traces(nodes, is_whole=True, read_at=NOON)


def due(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def lines(nodes: Sequence[Node]) -> list[str]:
    return list(plain_lines(render_tree(at_noon(nodes))))


def fate(node: Node) -> list[str]:
    """Return what is drawn of one delivery, without its name."""
    first, *others = lines([replace(node, parent=None)])
    return [first.removeprefix(f"{node.name}  "), *(line.strip() for line in others)]


def test_an_error_is_told_once() -> None:
    """What a delivery waits for is what its last attempt failed with."""
    failures = (a_failure(1, "first"), a_failure(2, "second", owner=None))
    node = a_delivery(
        state="retrying",
        attempts=2,
        owner=None,
        available_at=due(3),
        error="second",
        failures=failures,
    )

    assert fate(node) == [
        "retrying in 3.0 s, attempt 3: second",
        "· attempt 1 failed 2026-11-24 12:00:00Z, by worker-1: first",
        "· attempt 2 failed 2026-11-24 12:00:00Z",
    ]


def on_terminal(nodes: Sequence[Node], *, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(render_tree(at_noon(nodes)))
    return captured.get().splitlines()


def test_what_is_stored_cannot_command_a_terminal() -> None:
    """Errors, names and sources come from anywhere."""
    hostile = "\x1b[2J\u202e\r"
    nodes = [
        replace(COMMAND, name=hostile, about=hostile),
        replace(EVENT, about=hostile),
        a_delivery(hostile, owner=hostile, error=hostile, failures=(a_failure(1, f"x{hostile}"),)),
    ]

    shown = "".join(lines(nodes))

    assert not set(shown) & set("\x1b\u202e\r")
    assert shown.count("\\u001b[2J") == 7


def test_a_name_is_shown_as_it_is_and_never_as_a_picture() -> None:
    """What somebody calls themselves is neither an emoji, nor a colour, nor a link."""
    about = ":skull: [bold red]:warning:[/] [link=https://x]<i@example.com>"
    row = AcceptedCommand(
        id=uuid4(),
        type="register_user",
        source="cli",
        correlation_id=uuid4(),
        accepted_at=NOON,
        about=about,
        done=1,
        discarded=0,
        pending=0,
        parked=0,
        seconds=None,
    )
    node = replace(EVENT, about=about, parent=None)

    assert about in list(plain_lines(history_table([row])))[1]
    assert about in lines([node])[0]


RUNNING = a_delivery("b", state="running", available_at=due(9))
BEFORE = at_noon([ROOT, a_delivery("a"), RUNNING])
LATER = BEFORE._replace(read_at=due(1))
AFTER = at_noon([*BEFORE.nodes[:2], a_delivery("b")])


def test_json_has_a_line_for_each_node_that_is_new_or_has_changed() -> None:
    """That time passes is no change."""
    with display(as_json=True) as changes:
        first = [json.loads(line) for line in changes(BEFORE)]
        assert [node["name"] for node in first] == ["user_registered", "a", "b"]
        assert list(changes(LATER)) == []

        (changed,) = map(json.loads, changes(AFTER))
    assert (changed["id"], changed["state"]) == (f"{EVENT.id}:b", "done")


def test_text_in_a_pipe_is_the_tree_again_when_it_has_changed() -> None:
    """A log of it can be read."""
    with display() as changes:
        assert list(changes(BEFORE)) == lines(BEFORE.nodes)
        assert list(changes(LATER)) == []
        assert list(changes(AFTER)) == ["", *lines(AFTER.nodes)]


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
    assert all(line in last for line in on_terminal(AFTER.nodes, width=80))
