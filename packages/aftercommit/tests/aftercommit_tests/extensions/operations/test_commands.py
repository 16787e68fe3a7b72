"""The commands of operators: what they print and refuse."""

import json
import re
from typing import Any

import pytest

from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.inside.operations import trace_queries

pytestmark = pytest.mark.on("asyncio")


def as_json(command_line: CommandLine, *arguments: str) -> list[Any]:
    return [json.loads(line) for line in command_line.shows(*arguments, "--json").splitlines()]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("deliveries retry", "give either EVENT_ID and HANDLER, or --all-parked"),
        (
            "deliveries retry 00000000-0000-0000-0000-000000000000 announce --handler x",
            "--handler needs --all-parked",
        ),
        ("events prune --older-than soon", "'soon' is not a number followed by"),
        ("deliveries replay announce --since long", "'long' is not a number followed by"),
        (f"trace {'5f2c' * 26}", "is neither an id nor 8 or more of its first digits; a name has"),
        ("trace one two three", "give one ID, or SOURCE and MESSAGE_ID"),
        ("history --limit 0", "0 is not in the range 1<=x<=1000"),
    ],
)
def test_malformed_input_is_exit_code_2(
    command_line: CommandLine, command: str, complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    command_line.refuses(*command.split(), complaint=complaint)


def test_what_is_not_there_is_no_bug(command_line: CommandLine) -> None:
    """A new database has an empty history; a trace that is not there is not followed forever."""
    assert command_line.shows("history") == command_line.shows("history", "--json") == ""
    for arguments in (["5f2c8a91"], ["lamp", "--follow"]):
        result = command_line.run("trace", *arguments)
        assert (result.returncode, result.stdout) == (1, "")
        found_by = f"no trace, command, event or subject is found by {arguments[0]}"
        assert result.stderr == f"error: {found_by}\n"


PICTURES = ":skull: [bold red]:warning:[/] [link=https://x]"


def test_what_is_stored_neither_commands_a_terminal_nor_passes_for_other_fields(
    command_line: CommandLine,
) -> None:
    """Names and errors come from anywhere, and an operator decides by what is shown of them."""
    hostile = f"\x1b[2J\x9b2J\u202e\r{PICTURES}\nstate:       done"
    failing = {"bell_file": ".", "max_attempts": "1"}  # it is a folder
    command_line.shows("make-thing", hostile, **failing)
    command_line.change("UPDATE aftercommit_deliveries SET owner = ?", hostile)
    command_line.change("UPDATE aftercommit_deliveries SET last_error = owner")
    row, *_ = as_json(command_line, "deliveries", "list", "--parked")
    assert row["last_error"] == hostile

    shown = command_line.shows("deliveries", "show", row["event_id"], row["handler"])
    outputs = [shown]
    for command in ("history", f"trace {row['event_id']}", "deliveries list --all"):
        outputs += [command_line.shows(*command.split(), *more) for more in ([], ["--json"])]

    for output in outputs:
        assert not set(output) & set("\x1b\x9b\u202e\r")
        assert f"\\u001b[2J\\u009b2J\\u202e\\u000d{PICTURES}" in output.replace("\\r", "\\u000d")
    assert sum(line.startswith("state:") for line in shown.splitlines()) == 1
    assert f"\n{'':13}state:       done" in shown


BY_MARIA = ("--by", "Maria", "--reason", "the \x1b bell is mended")


def test_what_failed_is_found_inspected_retried_and_discarded(command_line: CommandLine) -> None:
    """What cannot be done by itself needs an operator, who needs tools."""
    command_line.shows("make-thing", "chair")
    as_json_logged = ("--log-format", "json", "--log-level", "warning", "make-thing", "lamp")
    failed = command_line.run(*as_json_logged, bell_file=".", max_attempts="1")
    logged = [json.loads(line) for line in failed.stderr.splitlines() if line.startswith("{")]
    assert {line["level"] for line in logged} == {"warning"}
    assert len({line["correlation_id"] for line in logged}) == 1

    _, line = command_line.shows("history", "--failed").splitlines()
    assert "make_thing  lamp  " in line
    assert "3 done, 2 parked, 1 scheduled in " in line
    [row] = as_json(command_line, "history", "--failed")
    assert (row["type"], row["source"], row["done"], row["parked"]) == ("make_thing", "cli", 3, 2)
    short_id = next(word for word in line.split() if word.endswith("…"))
    told = command_line.shows("trace", short_id, "--follow")
    assert "announce    parked 20" in told
    assert "IsADirectoryError" in told
    assert "· attempt 1 failed 20" in told

    rows = {row["handler"]: row for row in as_json(command_line, "deliveries", "list", "--parked")}
    assert set(rows) == {"announce", "praise"}
    assert (rows["announce"]["event_type"], rows["announce"]["attempts"]) == ("thing_made", 1)
    assert "parked" in command_line.shows("deliveries", "list")
    assert "no handler of this program" not in command_line.shows("deliveries", "list")
    announce, praise = ((rows[name]["event_id"], name) for name in ("announce", "praise"))
    assert '"name":"lamp"' in command_line.shows("deliveries", "show", *announce)
    command_line.shows("deliveries", "discard", *praise, *BY_MARIA)
    assert command_line.run("deliveries", "discard", *praise).returncode == 1
    of_no_name = ("deliveries", "retry", "--all-parked", "--handler", "")  # of a script's variable
    assert command_line.run(*of_no_name).returncode == 1
    command_line.shows("deliveries", "retry", *announce, *BY_MARIA)
    command_line.shows("worker", "--until-idle")

    assert command_line.shows("deliveries", "list") == command_line.shows("history", "--failed")
    for (event_id, name), decided in ((announce, "retry"), (praise, "discard")):
        past = rf"{decided} 20[-\d:Z ]+, by Maria: the \\u001b bell is mended"
        assert re.search(past, command_line.shows("deliveries", "show", event_id, name))
        assert re.search(f"· {past}", command_line.shows("trace", event_id))
    assert command_line.run("deliveries", "show", announce[0], "nobody").returncode == 1
    assert command_line.shows("deliveries", "list", "--scheduled").count(" scheduled ") == 2
    assert len(as_json(command_line, "deliveries", "list", "--all")) == 12
    assert command_line.shows("events", "prune", "--older-than", "0s") == "2 events deleted\n"
    pruned, *_ = as_json(command_line, "deliveries", "decisions")
    assert (pruned["decision"], pruned["reason"], pruned["event_id"]) == ("prune", None, None)
    assert re.fullmatch(r"\S+@\S+", pruned["decided_by"])


def test_a_trace_is_printed_as_a_tree(command_line: CommandLine) -> None:
    """All that a command has caused, and who has done it when; what is for later is no part."""
    command_line.shows("make-thing", "lamp", instance_name="front")

    text = command_line.shows("trace", "lamp").splitlines()
    nodes = as_json(command_line, "trace", "lamp", "--follow")

    assert text[0].startswith("make_thing  cli, 20")
    assert text[1].startswith("└── thing_made  lamp  ")
    assert re.fullmatch(r"    ├── announce    done in [\d.]+ m?s, by front", text[2])
    assert text[6].startswith("    │   └── thing_polished  lamp  ")
    assert nodes[2]["id"] == f"{nodes[1]['id']}:announce"
    assert nodes[2]["owner"].startswith("front@")
    assert [node["parent"] for node in nodes[:3]] == [None, *(node["id"] for node in nodes[:2])]
    states = {node["name"]: node["state"] for node in nodes if node["state"] != "done"}
    assert states == {"forget": "scheduled"}
    assert all(n["completed_at"].endswith("Z") for n in nodes if n["name"] not in states)
    assert re.search(r"  5 done, 1 scheduled in [\d.]+ m?s$", command_line.shows("history"))


def test_a_trace_that_is_too_long_says_so(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what is missing would be taken for what never happened."""
    command_line.shows("make-thing", "lamp")
    whole = command_line.run("trace", "lamp")

    monkeypatch.setattr(trace_queries, "MAX_ROWS", 3)
    cut = command_line.run("trace", "lamp", "--json")

    assert (whole.stderr, cut.returncode) == ("", 0)
    assert cut.stderr == "the tree is not complete: there are more than 3 attempts or commands\n"
    assert len(cut.stdout.splitlines()) < len(whole.stdout.splitlines())


@pytest.mark.parametrize(
    "command",
    [("check",), ("db", "upgrade"), ("make-thing", "chair"), ("worker", "--until-idle")],
    ids=" ".join,
)
def test_a_column_without_a_migration_is_found(
    command: tuple[str, ...], command_line: CommandLine
) -> None:
    """The first statement that names it would fail, in production."""
    command_line.shows("make-thing", "lamp")
    assert "schema       up to date" in command_line.shows("check")
    command_line.change("ALTER TABLE things RENAME COLUMN name TO label")

    checked = command_line.run(*command)

    assert checked.returncode == 70
    assert "no migration has made; write one for: things.name" in checked.stderr


def test_check_names_the_handlers_of_stored_deliveries_that_nobody_knows(
    command_line: CommandLine,
) -> None:
    """Also of what is for later: weeks before it is due. A broker that is configured is known."""
    command_line.shows("make-thing", "lamp")
    assert "unknown" not in command_line.shows("check")
    renamed = "UPDATE aftercommit_deliveries SET handler = ? WHERE handler = 'forget'"
    command_line.change(renamed, "publish_event_to_rabbitmq")

    found = command_line.shows("check")

    unknown = r"^unknown +publish_event_to_rabbitmq: 1 pending, the first due 20\S+Z; renamed\?"
    assert re.search(unknown, found, re.MULTILINE)
    with_broker = {"broker_urls": "amqp://localhost", "event_loop": "asyncio"}
    assert "unknown" not in command_line.shows("check", **with_broker)


def test_check_says_what_waits_for_a_resource_that_is_unavailable(
    command_line: CommandLine,
) -> None:
    """It is never parked, so nothing else of the check would show it."""
    command_line.shows("make-thing", "lamp")
    command_line.change(
        "UPDATE aftercommit_deliveries SET completed_at = NULL, unavailable_attempts = 3,"
        " last_error = ? WHERE handler = 'announce'",
        "the broker rejects\na message",
    )

    found = command_line.shows("check")

    assert "unavailable  announce: 1 tried again and again: the broker rejects a message" in found


def test_check_names_the_events_of_stored_deliveries_that_nobody_can_read(
    command_line: CommandLine,
) -> None:
    """They are due, and stay so: such as those of an event whose wire name has changed."""
    command_line.shows("make-thing", "lamp")
    command_line.change("UPDATE aftercommit_deliveries SET completed_at = NULL")
    command_line.change("UPDATE aftercommit_events SET type = ?", "thing_created")

    found = command_line.shows("check")

    unknown = r"^unknown +thing_created, version 1: \d+ deliveries pending; renamed\?"
    assert re.search(unknown, found, re.MULTILINE)
