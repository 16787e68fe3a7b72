"""The commands of the room "operations", in this process."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.command_line import Application


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("deliveries", "retry"), "give either EVENT_ID and HANDLER, or --all-parked"),
        (("events", "prune", "--older-than", "soon"), "'soon' is not a number followed by"),
    ],
)
def test_malformed_input_is_exit_code_2(
    application: Application, command: tuple[str, ...], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    application.refuses(*command, complaint=complaint)


def test_what_is_stored_cannot_command_a_terminal(application: Application) -> None:
    """Errors come from anywhere, and a person looks at them when something is wrong."""
    application.run("register-user", "Иван", "i@example.com", dispatch="worker")
    commands = "\x1b[2J\x9b2J\u202e\r"
    with closing(sqlite3.connect(application.database)) as other:
        other.execute("UPDATE deliveries SET last_error = 'Ж' || ?", [commands])
        other.commit()

    listed = application.run("deliveries", "list").stdout
    as_json = application.run("deliveries", "list", "--json").stdout.splitlines()
    key = (json.loads(as_json[0])["event_id"], json.loads(as_json[0])["handler"])
    shown = application.run("deliveries", "show", *key).stdout

    for output in (listed, shown, *as_json):
        assert not set(output) & set(commands) - set("[2J")
        assert "Ж\\u001b[2J" in output
    assert json.loads(as_json[0])["last_error"] == f"Ж{commands}"


def test_parked_deliveries_can_be_inspected_retried_and_discarded(
    application: Application,
) -> None:
    """What cannot be done by itself needs a person, and the person needs tools."""
    application.run("add-coupon-batch", "WELCOME", "1")
    registered = application.run(
        "register-user", "Иван", "ivan@example.com", mail_url="smtp://127.0.0.1:1", max_attempts="1"
    )
    assert registered.stderr.endswith('; see "allocation deliveries list"\n')

    listed = application.run("deliveries", "list", "--parked", "--json")
    rows = {row["handler"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert set(rows) == {"send_welcome_email", "send_coupon_email"}
    welcome = rows["send_welcome_email"]
    assert list(welcome) == [
        "event_id",
        "event_type",
        "handler",
        "attempts",
        "due_at",
        "parked_at",
        "finished_at",
        "process",
        "last_error",
    ]
    assert (welcome["event_type"], welcome["attempts"]) == ("user_registered", 1)
    assert "Connection refused" in welcome["last_error"]
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
    assert application.run("deliveries", "show", *key).returncode == 1
    pruned = application.run("events", "prune", "--older-than", "0s")
    assert pruned.stdout == "2 events deleted\n"


def test_the_log_is_json_on_request(application: Application) -> None:
    """Each line is one object, with the ids that tie it to its command."""
    command = ("--log-format", "json", "register-user", "Иван", "i@example.com")
    result = application.run(*command, log_level="warning", mail_url="smtp://127.0.0.1:1")

    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert {line["level"] for line in lines} == {"warning"}
    assert len({line["correlation_id"] for line in lines}) == 1
    assert any("send_welcome_email" in line["message"] for line in lines)


class TestImport:
    """Importing a file of users."""

    def test_bad_rows_are_reported_and_the_others_imported(self, application: Application) -> None:
        """With line number and reason; quoted fields, CRLF, BOM and other columns are fine."""
        content = (
            "\ufeffName,phone,EMAIL\r\n"
            '"Иван, the first",1,ivan@example.com\r\n'
            "Мария,2,not-an-address\r\n"
            "\r\n"
            '"two\r\nlines",3,two@example.com\r\n'
            "Пётр,4\r\n"
            ",5,nobody@example.com\r\n"
            "Анна,6,IVAN@example.com\r\n"
            "Ольга,7,olga@example.com\r\n"
        )
        (application.folder / "users.csv").write_bytes(content.encode())

        result = application.run("import-users", "users.csv")

        assert result.returncode == 1
        assert result.stdout == "imported 2, already there 0, refused 5\n"
        *complaints, known = sorted(result.stderr.splitlines())
        assert complaints == [
            "line 3: e-mail address 'not-an-address' is not of the form name@example.com",
            "line 5: name has a line break, a control character or invalid UTF-8 in it",
            "line 7: row has too few cells",
            "line 8: name is empty",
        ]
        assert known.startswith("line 9: user ")
        assert known.endswith("is already registered with another name or e-mail")
        assert len(application.rows("SELECT * FROM users")) == 2

    def test_a_second_run_imports_only_what_is_missing(self, application: Application) -> None:
        """So an interrupted import is simply repeated."""
        file = application.folder / "users.csv"
        file.write_text("name,email\nИван,ivan@example.com\n")
        application.run("import-users", "users.csv")
        file.write_text("name,email\nИван,ivan@example.com\nМария,maria@example.com\n")

        result = application.run("import-users", "users.csv")

        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "imported 1, already there 1, refused 0\n"

    @pytest.mark.parametrize("content", [b"", b"a;b\nc;d\n", b"\x00\x01\xff"])
    def test_a_file_without_the_columns_is_exit_code_2(
        self, application: Application, content: bytes
    ) -> None:
        """It is the wrong file."""
        (application.folder / "users.csv").write_bytes(content)

        result = application.run("import-users", "users.csv")

        assert (result.returncode, result.stdout) == (2, "")
        assert "error: the first line" in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_quote_that_is_never_closed_swallows_no_other_row(
        self, application: Application
    ) -> None:
        """It is refused from its line on, and reading goes on with the next one."""
        rows = [f"user{n},user{n}@example.com\n" for n in range(50)]
        rows[1] = '"user1,user1@example.com\n'
        rows[48] = '"user48,user48@example.com\n'
        (application.folder / "users.csv").write_text("name,email\n" + "".join(rows))

        result = application.run("import-users", "users.csv")

        assert result.stdout == "imported 48, already there 0, refused 2\n"
        assert sorted(result.stderr.splitlines()) == [
            "line 3: row is not valid CSV up to line 12: a quote is not closed",
            "line 50: row is not valid CSV up to line 51: a quote is not closed",
        ]

    def test_invalid_utf8_is_refused_by_row(self, application: Application) -> None:
        """One broken row does not stop the others."""
        (application.folder / "users.csv").write_bytes(
            b"name,email\nIv\xe1n,a@example.com\nIvan,b@example.com\n"
        )

        result = application.run("import-users", "users.csv")

        assert result.returncode == 1
        assert (
            "line 2: name has a line break, a control character or invalid UTF-8" in result.stderr
        )
        assert application.rows("SELECT email FROM users") == [("b@example.com",)]
