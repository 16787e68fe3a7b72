"""The command line, in this process: input, output and exit codes."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from uuid import uuid4

import pytest

from allocation.adapters.exceptions import CommitOutcomeUnknown, ConnectionLost
from allocation.service_layer.exceptions import WiringError
from allocation.service_layer.messagebus import MessageBus
from tests.command_line import Application


def test_the_demo_reproduces_the_story_on_a_database_of_its_own(application: Application) -> None:
    """The first thing a reader runs must work anywhere, and leave nothing behind."""
    result = application.run("demo")

    assert (result.returncode, result.stderr) == (0, "")
    for name, email in (("Иван", "ivan@example.com"), ("Мария", "maria@example.com")):
        assert f"[User Service]   registered {name} <{email}>" in result.stdout
        assert f"[Email Service]  welcome e-mail to {email} kept in " in result.stdout
        assert f"[Log Service]    user registered: {email}" in result.stdout
        assert f"allocated to {email}" in result.stdout
        assert (
            f"{name} <{email}>" in result.stdout.splitlines()[-1] + result.stdout.splitlines()[-2]
        )
    assert list(application.folder.iterdir()) == []


def test_users_are_listed_with_their_coupons(application: Application) -> None:
    """One JSON object a line, for scripts."""
    user_id = str(uuid4())
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run("register-user", "Иван", "ivan@example.com", "--user-id", user_id)
    application.run("register-user", "Мария", "maria@example.com")

    listed = application.run("users", "--json")

    ivan, maria = map(json.loads, listed.stdout.splitlines())
    assert ivan.pop("coupon").startswith("WELCOME-")
    assert ivan == {"user_id": user_id, "name": "Иван", "email": "ivan@example.com"}
    assert (maria["name"], maria["coupon"]) == ("Мария", None)
    assert "Иван <ivan@example.com>" in application.run("users").stdout


def test_an_address_can_be_changed(application: Application) -> None:
    """The old address gets a notice."""
    user_id = str(uuid4())
    application.run("register-user", "Иван", "old@example.com", "--user-id", user_id)

    result = application.run("change-email", user_id, "new@example.com")

    assert result.returncode == 0
    kept = "[Email Service]  notice of change to old@example.com kept in allocation-mail"
    assert kept in result.stdout
    assert application.rows("SELECT email FROM user_view") == [("new@example.com",)]


def test_a_repeated_command_is_done_once(application: Application) -> None:
    """A script that saw no answer can safely ask again."""
    command = ("register-user", "Иван", "ivan@example.com", "--user-id", str(uuid4()))
    application.run(*command)

    again = application.run(*command)

    assert again.returncode == 0
    assert (
        again.stdout == "[User Service]   ivan@example.com was registered before; nothing to do\n"
    )
    assert application.rows("SELECT count(*) FROM registration_log") == [(1,)]


def test_a_refusal_is_one_line_and_exit_code_1(application: Application) -> None:
    """No traceback: nothing is wrong with the program."""
    application.run("register-user", "Иван", "ivan@example.com")

    result = application.run("register-user", "Иван", "IVAN@example.com")

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: e-mail address IVAN@example.com is already registered\n"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("register-user", "Иван", "no-address"), "'no-address' is not of the form"),
        (("register-user", "", "ivan@example.com"), "name is empty"),
        (("register-user", "И" * 201, "ivan@example.com"), "201 characters, 200 are allowed"),
        (("register-user", "Иван\nBcc: x", "ivan@example.com"), "name has a line break"),
        (("register-user", "Иван", "ivan@example.com\n"), "e-mail address has a line break"),
        (("register-user", "Иван", "i@example.com", "--user-id", "7"), "not a valid UUID"),
        (("register-user", "Иван"), "Missing argument 'EMAIL'"),
        (("change-email", "7", "ivan@example.com"), "not a valid UUID"),
        (("add-coupon-batch", "WELCOME", "0"), "quantity 0 is not between 1"),
        (("add-coupon-batch", "WELCOME", "ten"), "'ten' is not a valid integer"),
        (("add-coupon-batch", "A B", "1"), "reference 'A B' is not"),
        (("users", "--yaml"), "No such option '--yaml'"),
        (("dance",), "No such command 'dance'"),
        # room: trio
        (
            ("--backend", "trio", "--database-url", "sqlite+aiosqlite:///a.db", "users"),
            "names sqlite+aiosqlite, which is not supported on trio",
        ),
        # end
        (("--database-url", "mysql://x", "users"), "error: database URL"),
        (("--database-url", "sqlite://", "users"), "in-memory database is not supported"),
        (("--mail-url", "http://x", "users"), "error: mail URL is not of the form maildir:FOLDER"),
        (("--smtp-url", "http://x", "users"), "error: mail URL is not of the form"),
    ],
)
def test_malformed_input_is_exit_code_2(
    application: Application, command: tuple[str, ...], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    application.refuses(*command, complaint=complaint)


def test_settings_that_contradict_each_other_are_exit_code_2(application: Application) -> None:
    """Better refused at start than wrong at night."""
    result = application.run("users", lease_seconds="5", handler_timeout_seconds="10")

    assert result.returncode == 2
    assert "shorter than ALLOCATION_LEASE_SECONDS" in result.stderr


def test_an_unreachable_database_is_exit_code_3(application: Application) -> None:
    """Nothing is wrong with the input: try again later."""
    result = application.run("users", database_url="sqlite:////no/such/folder/x.db")

    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == "error: the database is not available: unable to open database file\n"


def test_a_locked_database_is_exit_code_3(application: Application) -> None:
    """Somebody else holds it for longer than we wait."""
    application.run("users")
    with closing(sqlite3.connect(application.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = application.run(
            "register-user",
            "Иван",
            "i@example.com",
            database_url="sqlite:///allocation.db?timeout=0.1",
        )

    assert result.returncode == 3
    assert result.stderr == "error: the database is not available: database is locked\n"


def test_a_file_that_is_no_database_is_exit_code_3(application: Application) -> None:
    """It is left as it is."""
    application.database.write_text("dear diary" * 1000)

    result = application.run("users")

    assert result.returncode == 3
    assert "file is not a database" in result.stderr
    assert application.database.read_text().startswith("dear diary")


def test_a_database_of_something_else_is_exit_code_3(application: Application) -> None:
    """We do not put our tables beside those of others."""
    with closing(sqlite3.connect(application.database)) as other:
        other.execute("CREATE TABLE diary (text)")

    result = application.run("users")

    assert result.returncode == 3
    assert "it holds tables of something else" in result.stderr


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("allocation_9999", "install a newer one"), ("9999", "tables of something else")],
)
def test_a_schema_of_another_version_is_exit_code_3(
    application: Application, revision: str, advice: str
) -> None:
    """Guessing would destroy data; the message says what to do."""
    application.run("db", "upgrade")
    with closing(sqlite3.connect(application.database)) as other:
        other.execute("UPDATE alembic_version SET version_num = ?", [revision])
        other.commit()

    for command in (("users",), ("db", "upgrade")):
        result = application.run(*command)
        assert result.returncode == 3
        assert advice in result.stderr


def test_the_schema_can_be_made_beforehand(application: Application) -> None:
    """For those who give the application no right to create tables; repeating is harmless."""
    for _ in range(2):
        result = application.run("db", "upgrade")
        assert result.returncode == 0
        assert "up to date" in result.stdout
    assert application.run("users", "--json").stdout == ""


@pytest.mark.parametrize("lost", [CommitOutcomeUnknown, partial(ConnectionLost, "it broke")])
def test_a_registration_nobody_knows_about_says_how_to_ask_again(
    application: Application, monkeypatch: pytest.MonkeyPatch, lost: Callable[[], Exception]
) -> None:
    """The id was made by the program, and is needed to repeat the command."""

    async def lose(*arguments: object) -> None:
        raise lost()

    monkeypatch.setattr(MessageBus, "handle", lose)
    user_id = str(uuid4())
    result = application.run("register-user", "Иван", "i@example.com", "--user-id", user_id)

    assert result.returncode == 3
    assert result.stderr == f"error: {lost()}; repeat it with --user-id {user_id}\n"


@pytest.mark.parametrize(
    "error", [WiringError("asks for\nwhat nobody provides", "name"), ZeroDivisionError("by zero")]
)
def test_a_mistake_in_the_program_is_exit_code_70(
    application: Application, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With the traceback, for whoever mends it, and with the reason in the last line."""

    async def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(MessageBus, "handle", fail)
    result = application.run("register-user", "Иван", "i@example.com")

    assert result.returncode == 70
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    reason = f"error: {type(error).__name__}: {error}".replace("\n", " ")
    assert result.stderr.splitlines()[-1] == reason


def test_a_failing_handler_is_announced_and_the_command_accepted(
    application: Application,
) -> None:
    """The user is registered; the e-mail is owed."""
    url = "maildir:allocation.db"  # a file, where no folder can be made
    application.run("add-coupon-batch", "WELCOME", "1")
    result = application.run(
        "register-user", "Иван", "ivan@example.com", mail_url=url, max_attempts="1"
    )
    again = application.run("register-user", "Мария", "maria@example.com", mail_url=url)

    assert result.returncode == again.returncode == 0
    assert "[Log Service]    user registered: ivan@example.com" in result.stdout
    assert "welcome e-mail" not in result.stdout
    parked = "2 deliveries parked: send_welcome_email, send_coupon_email; "
    assert result.stderr.startswith(parked)
    assert "2 deliveries will be retried: " in again.stderr
    assert "send_welcome_email in 1 s" in again.stderr
    assert 'run "allocation worker"' in again.stderr


def test_neither_coupons_nor_emails_are_in_the_log(application: Application) -> None:
    """A coupon's code is money, and logs are read by many."""
    application.run("add-coupon-batch", "WELCOME", "1")

    result = application.run("--log-level", "debug", "register-user", "Иван", "i@example.com")

    [(code,)] = application.rows("SELECT code FROM coupons")
    kept = list((application.folder / "allocation-mail" / "new").iterdir())
    assert any(code in file.read_text() for file in kept)
    assert code not in result.stderr
    assert "Welcome" not in result.stderr
