"""The commands of the extension "operations", in this process."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.command_line import Application


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("deliveries retry", "give either EVENT_ID and HANDLER, or --all-parked"),
        (
            "deliveries retry 00000000-0000-0000-0000-000000000000 send_welcome_email --handler x",
            "--handler goes with --all-parked",
        ),
        ("events prune --older-than soon", "'soon' is not a number followed by"),
        ("deliveries replay log_registration --since long", "'long' is not a number followed by"),
        ("trace 5f2c", "ID '5f2c' is neither an id nor 8 or more of its first digits"),
        ("trace ivan@", "e-mail address 'ivan@' is not of the form name@example.com"),
        ("history --limit 0", "0 is not in the range 1<=x<=1000"),
    ],
)
def test_malformed_input_is_exit_code_2(
    application: Application, command: str, complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    application.refuses(*command.split(), complaint=complaint)


def test_what_is_stored_cannot_command_a_terminal(application: Application) -> None:
    """Errors come from anywhere, and a person looks at them when something is wrong."""
    application.run("register-user", "Иван", "i@example.com", dispatch="worker")
    commands = "\x1b[2J\x9b2J\u202e\r"
    with closing(sqlite3.connect(application.database)) as other:
        other.execute("UPDATE aftercommit_deliveries SET last_error = 'Ж' || ?", [commands])
        other.commit()

    listed = application.run("deliveries", "list").stdout
    as_json = application.run("deliveries", "list", "--json").stdout.splitlines()
    key = (json.loads(as_json[0])["event_id"], json.loads(as_json[0])["handler"])
    shown = application.run("deliveries", "show", *key).stdout

    for output in (listed, shown, *as_json):
        assert not set(output) & set(commands) - set("[2J")
        assert "Ж\\u001b[2J" in output
    assert json.loads(as_json[0])["last_error"] == f"Ж{commands}"


def test_an_error_of_many_lines_cannot_pass_for_other_fields(application: Application) -> None:
    """A mail server writes what it likes into its reply, and a person decides by what is shown."""
    application.run("register-user", "Иван", "i@example.com", dispatch="worker")
    [(event_id, *_)] = application.rows("SELECT id FROM aftercommit_events")
    application.rows_changed(
        "UPDATE aftercommit_deliveries SET last_error = '554 no\nstate:       done'"
    )

    shown = application.run("deliveries", "show", str(event_id), "send_welcome_email").stdout

    lines = shown.splitlines()
    assert sum(line.startswith("state:") for line in lines) == 1
    assert lines[lines.index("last_error:  554 no") + 1] == f"{'':13}state:       done"


def test_parked_deliveries_can_be_inspected_retried_and_discarded(
    application: Application,
) -> None:
    """What cannot be done by itself needs a person, and the person needs tools."""
    application.run("add-coupon-batch", "WELCOME", "1")
    registered = application.run(
        "register-user",
        "Иван",
        "ivan@example.com",
        mail_url="maildir:allocation.db",  # a file, where no folder can be made
        max_attempts="1",
    )
    assert registered.stderr.endswith('; see "allocation deliveries list"\n')

    listed = application.run("deliveries", "list", "--parked", "--json")
    rows = {row["handler"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert set(rows) == {"send_welcome_email", "send_coupon_email"}
    welcome = rows["send_welcome_email"]
    assert list(welcome) == [
        "event_id",
        "correlation_id",
        "event_type",
        "handler",
        "state",
        "about",
        "attempts",
        "available_at",
        "parked_at",
        "completed_at",
        "owner",
        "last_error",
    ]
    assert (welcome["event_type"], welcome["attempts"]) == ("user_registered", 1)
    assert "FileExistsError" in welcome["last_error"]
    assert "parked" in application.run("deliveries", "list").stdout
    assert "no handler of this program" not in application.run("deliveries", "list").stdout

    key = (welcome["event_id"], "send_welcome_email")
    assert '"email":"ivan@example.com"' in application.run("deliveries", "show", *key).stdout
    coupon = (rows["send_coupon_email"]["event_id"], "send_coupon_email")
    assert application.run("deliveries", "discard", *coupon).returncode == 0
    assert application.run("deliveries", "discard", *coupon).returncode == 1
    assert application.run("deliveries", "retry", *key).returncode == 0
    assert application.run("worker", "--until-idle").returncode == 0

    assert application.run("deliveries", "list").stdout == ""
    _, *for_later = application.run("deliveries", "list", "--scheduled").stdout.splitlines()
    assert [" scheduled " in line for line in for_later] == [True, True]
    assert application.run("deliveries", "show", *key).returncode == 1
    pruned = application.run("events", "prune", "--older-than", "0s")
    assert pruned.stdout == "1 event deleted\n"


def test_the_log_is_json_on_request(application: Application) -> None:
    """Each line is one object, with the ids that tie it to its command."""
    command = ("--log-format", "json", "register-user", "Иван", "i@example.com")
    result = application.run(*command, log_level="warning", mail_url="smtp://127.0.0.1:1")

    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert {line["level"] for line in lines} == {"warning"}
    assert len({line["correlation_id"] for line in lines}) == 1
    assert any("send_welcome_email" in line["message"] for line in lines)


def test_how_many_coupons_are_left_is_listed(application: Application) -> None:
    """Whoever starts workers on a backlog wants to know before whether there are enough."""
    assert len(application.run("coupon-batches").stdout.splitlines()) == 1
    for reference, quantity in (("WELCOME", "2"), ("SPRING", "5")):
        application.run("add-coupon-batch", reference, quantity)
    application.run("register-user", "new", "new@example.com")

    listed = application.run("coupon-batches").stdout.splitlines()
    as_json = application.run("coupon-batches", "--json").stdout.splitlines()

    assert [line.split() for line in listed] == [
        ["REFERENCE", "REMAINING", "QUANTITY"],
        ["SPRING", "4", "5"],
        ["WELCOME", "2", "2"],
    ]
    assert json.loads(as_json[0]) == {"reference": "SPRING", "quantity": 5, "remaining": 4}


def test_what_is_done_is_listed_if_all_is_asked_for(application: Application) -> None:
    """After what is owed: first what is tried, then what is parked."""
    application.run("register-user", "old", "old@example.com")
    application.run("register-user", "new", "new@example.com", dispatch="worker")
    application.rows_changed(
        "UPDATE aftercommit_deliveries SET parked_at = 1, available_at = 1"
        " WHERE completed_at IS NULL AND handler = 'send_welcome_email'"
    )

    listed = application.run("deliveries", "list", "--all").stdout.splitlines()
    as_json = application.run("deliveries", "list", "--all", "--json").stdout.splitlines()

    rows = [json.loads(line) for line in as_json]
    states = [row["state"] for row in rows]
    assert states == ["due"] * 3 + ["parked"] + ["done"] * 4
    assert listed[0].split() == ["EVENT_ID", "HANDLER", "EVENT", "ABOUT", "STATE", "LAST", "ERROR"]
    about, state = map(listed[0].index, ("ABOUT", "STATE"))
    for line, row in zip(listed[1:], rows, strict=True):
        assert line.startswith(row["event_id"])
        assert line[about:state].rstrip() == row["about"]
        assert line[state:].startswith(f"{row['state']} ")
    done = [row for row in rows if row["completed_at"]]
    assert {(row["available_at"], row["parked_at"]) for row in done} == {(None, None)}


def test_a_handler_without_a_name_is_not_all_of_them(application: Application) -> None:
    """It comes from a script whose variable is not set: what is parked is not retried."""
    application.run("register-user", "Иван", "i@example.com", dispatch="worker")
    application.rows_changed("UPDATE aftercommit_deliveries SET parked_at = 1")

    result = application.run("deliveries", "retry", "--all-parked", "--handler", "")

    assert (result.returncode, result.stdout) == (1, "")
    assert application.rows(
        "SELECT count(*) FROM aftercommit_deliveries WHERE parked_at IS NULL"
    ) == [(0,)]


@pytest.mark.parametrize(
    "command",
    [
        ("deliveries", "list"),
        ("deliveries", "retry", "--all-parked"),
        ("events", "prune", "--older-than", "1d"),
    ],
)
def test_whoever_only_looks_needs_no_place_for_emails(
    application: Application, command: tuple[str, ...]
) -> None:
    """Beside a database on a server there is none by itself."""
    result = application.run(*command, database_url="postgresql://127.0.0.1:1/allocation")

    assert result.returncode == 3
    assert "the database is not available" in result.stderr
