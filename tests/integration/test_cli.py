"""The command line, in this process: input, output and exit codes."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from aftercommit.bus import MessageBus
from aftercommit.errors import WiringError
from aftercommit.sql.exceptions import CommitOutcomeUnknown, ConnectionLost

from tests.command_line import Application


def test_the_demo_leaves_nothing_behind(application: Application) -> None:
    """The first thing a reader runs must work anywhere."""
    result = application.run("demo")

    assert (result.returncode, result.stderr) == (0, "")
    assert list(application.folder.iterdir()) == []


def test_the_demo_registers_users_and_lists_them(application: Application) -> None:
    """On a database of its own."""
    shown = application.run("demo").stdout

    for user_name, email in (("Иван", "ivan@example.com"), ("Мария", "maria@example.com")):
        assert f"[User Service]   registered {user_name} <{email}>" in shown
        assert f"[Email Service]  welcome e-mail to {email} kept in " in shown
        assert f"[Log Service]    user registered: {email}" in shown
        assert f"{user_name} <{email}>" in "".join(shown.splitlines()[-2:])


def test_users_are_listed_with_their_coupons(application: Application) -> None:
    """Who has none, has none there."""
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run("register-user", "Иван", "ivan@example.com")
    application.run("register-user", "Мария", "maria@example.com")

    listed = application.run("users", "--json")

    ivan, maria = map(json.loads, listed.stdout.splitlines())
    assert ivan["coupon_code"].startswith("WELCOME-")
    assert (maria["name"], maria["coupon_code"]) == ("Мария", None)


def test_users_are_listed(application: Application) -> None:
    """One JSON object a line, for scripts."""
    user_id = str(uuid4())
    application.run("register-user", "Иван", "ivan@example.com", "--user-id", user_id)

    ivan = json.loads(application.run("users", "--json").stdout)

    assert (ivan["user_id"], ivan["name"], ivan["email"]) == (user_id, "Иван", "ivan@example.com")
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


def test_an_address_that_does_not_exist_is_shown_until_there_is_another_one(
    application: Application,
) -> None:
    """Nobody is written to there, and whoever looks at the list sees why."""
    user_id = str(uuid4())
    application.run("register-user", "Иван", "old@example.com", "--user-id", user_id)
    for table in ("users", "user_view"):
        assert application.rows_changed(f"UPDATE {table} SET email_undeliverable = true") == 1
    lines = [application.run("users").stdout]
    rows = [json.loads(application.run("users", "--json").stdout)]

    application.run("change-email", user_id, "new@example.com")

    lines.append(application.run("users").stdout)
    rows.append(json.loads(application.run("users", "--json").stdout))
    assert ["(no such address)" in line for line in lines] == [True, False]
    assert [row["email_undeliverable"] for row in rows] == [True, False]


def test_a_coupon_is_redeemed_by_a_code_that_nothing_prints(application: Application) -> None:
    """The code is money. From standard input, it is in no history of a shell either."""
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run("register-user", "Иван", "ivan@example.com")
    [(code,)] = application.rows("SELECT code FROM coupons")
    redeem = ("--log-level", "debug", "redeem-coupon")

    first = application.run(*redeem, line=f" {code}\n")
    again = application.run(*redeem, code)
    unknown = application.run(*redeem, f"{code}7")

    assert (first.returncode, first.stdout) == (0, "[Coupon Service] coupon WELCOME-… redeemed\n")
    assert again.returncode == unknown.returncode == 1
    assert again.stderr.endswith("error: the coupon was redeemed before\n")
    assert unknown.stderr.endswith("error: there is no coupon with this code\n")
    assert code not in str([first, again, unknown])
    assert application.rows("SELECT coupon_state FROM user_view") == [("redeemed",)]
    assert "  redeemed   Иван" in application.run("users").stdout


def test_a_repeated_command_is_done_once(application: Application) -> None:
    """A script, or a till, that saw no answer can safely ask again."""
    application.run("add-coupon-batch", "WELCOME", "1")
    register = ("register-user", "Иван", "ivan@example.com", "--user-id", str(uuid4()))
    application.run(*register)
    [(code,)] = application.rows("SELECT code FROM coupons")
    redeem = ("redeem-coupon", code, "--redemption-id", str(uuid4()))
    application.run(*redeem)

    again = [application.run(*command) for command in (register, redeem)]

    assert [(each.returncode, each.stdout) for each in again] == [
        (0, "[User Service]   ivan@example.com was registered before; nothing to do\n"),
        (0, f"[Coupon Service] redemption {redeem[-1]} was done before; nothing to do\n"),
    ]
    assert application.rows("SELECT count(*) FROM registration_log") == [(1,)]
    assert len(application.rows("SELECT type FROM aftercommit_commands")) == 3


def test_a_repeated_command_that_changes_nothing_is_not_stored(application: Application) -> None:
    """A script that runs every night would fill the history."""
    user_id = str(uuid4())
    commands = (
        ("register-user", "Иван", "ivan@example.com", "--user-id", user_id),
        ("change-email", user_id, "new@example.com"),
    )
    for command in commands:
        assert application.run(*command).returncode == 0

    for command in commands[1:]:
        assert application.run(*command).returncode == 0

    assert application.rows("SELECT count(*) FROM aftercommit_commands") == [(2,)]


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
        (("redeem-coupon", "A B"), "coupon code is not 1 to 80 of"),
        (("redeem-coupon",), "coupon code is not 1 to 80 of"),
        (("redeem-coupon", "A", "--redemption-id", "7"), "not a valid UUID"),
        (("users", "--yaml"), "No such option '--yaml'"),
        (("dance",), "No such command 'dance'"),
        (
            ("--event-loop", "trio", "--database-url", "sqlite+aiosqlite:///a.db", "users"),
            "names sqlite+aiosqlite, which is not supported on trio",
        ),
        (("--database-url", "mysql://x", "users"), "error: database URL"),
        (("--database-url", "sqlite://", "users"), "in-memory database is not supported"),
        (("--mail-url", "http://x", "users"), "error: mail URL is not of the form smtp:"),
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


def change(database: Path, *statements: str) -> None:
    """Change a database from outside; make it, if it is not there."""
    with closing(sqlite3.connect(database)) as other, other:
        for statement in statements:
            other.execute(statement)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "there is none": (lambda file: file.symlink_to("no/such/folder/x.db"), "unable to open"),
    "a file of something else": (
        lambda file: file.write_text("dear diary" * 1000),
        "file is not a database",
    ),
    "tables of something else": (
        lambda file: change(file, "CREATE TABLE diary (text)"),
        "is missing beside other tables",
    ),
}


@pytest.mark.parametrize(("arrange", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_database_is_exit_code_3(
    application: Application, arrange: Callable[[Path], object], reason: str
) -> None:
    """Nothing is wrong with the input, and what is there gets no tables of ours beside it."""
    arrange(application.database)

    result = application.run("users")

    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("error: the database ")
    assert reason in result.stderr
    assert b"coupon" not in b"".join(
        each.read_bytes() for each in application.folder.glob("*.db") if each.exists()
    )


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("allocation_9999", "install a newer one"), ("9999", "tables of something else")],
)
def test_a_schema_of_another_version_is_exit_code_3(
    application: Application, revision: str, advice: str
) -> None:
    """Guessing would destroy data; the message says what to do."""
    application.run("db", "upgrade")
    change(application.database, f"UPDATE alembic_version SET version_num = '{revision}'")

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
    result = application.run(
        "register-user", "Иван", "ivan@example.com", mail_url=url, max_attempts="1"
    )
    again = application.run("register-user", "Мария", "maria@example.com", mail_url=url)

    assert result.returncode == again.returncode == 0
    assert "[Log Service]    user registered: ivan@example.com" in result.stdout
    assert "welcome e-mail" not in result.stdout
    parked, *_ = result.stderr.removeprefix("1 delivery parked: ").partition("; ")
    assert parked == "send_welcome_email"
    assert "1 delivery will be retried: " in again.stderr
    assert "send_welcome_email in 1 s" in again.stderr
    assert 'run "allocation worker"' in again.stderr


def test_no_email_is_in_the_log(application: Application) -> None:
    """Letters are private, and logs are read by many."""
    result = application.run("--log-level", "debug", "register-user", "Иван", "i@example.com")

    [kept] = (application.folder / "allocation-mail" / "new").iterdir()
    assert "Welcome" in kept.read_text()
    assert "Welcome" not in result.stderr


def test_no_coupon_is_in_the_log(application: Application) -> None:
    """Its code is money."""
    application.run("add-coupon-batch", "WELCOME", "1")

    result = application.run("--log-level", "debug", "register-user", "Иван", "i@example.com")

    [(code,)] = application.rows("SELECT code FROM coupons")
    kept = list((application.folder / "allocation-mail" / "new").iterdir())
    assert any(code in file.read_text() for file in kept)
    assert code not in result.stderr
