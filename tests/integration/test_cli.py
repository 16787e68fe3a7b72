"""The command line, in this process: input, output and exit codes."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aftercommit import CommitOutcomeUnknown, ConnectionLost, MessageBus, WiringError

from tests.commands import Shell

REGISTER = ("register-user", "Иван", "ivan@example.com")


def test_the_demo_lists_the_users_it_registers_and_leaves_nothing_behind(shell: Shell) -> None:
    """The first command that a reader runs must work anywhere, on a database of its own."""
    result = shell.run("demo")

    assert (result.exit_code, result.stderr) == (0, "")
    for user in ("Иван <ivan@example.com>", "Мария <maria@example.com>"):
        assert f"registered {user}" in result.stdout
        assert user in "".join(result.stdout.splitlines()[-2:])
    assert list(shell.folder.iterdir()) == []


def test_a_registration_prints_what_happened(shell: Shell) -> None:
    """A person reads it on stdout; logs would go to stderr, but there is nothing to log."""
    shell.run("add-coupon-batch", "WELCOME", "10")

    result = shell.run(*REGISTER)

    assert (result.exit_code, result.stderr) == (0, "")
    first, *others = result.stdout.splitlines()
    [(user_id,)] = shell.rows("SELECT id FROM users")
    assert str(UUID(user_id)) in first
    for words in ("welcome e-mail", "registered: ivan@example.com", "WELCOME-… allocated"):
        assert [line for line in others if words in line]
    assert "kept in allocation-mail" in result.stdout


def test_users_are_listed_with_their_coupons(shell: Shell) -> None:
    """One JSON object a line for scripts; a user without a coupon has none there."""
    user_id = str(uuid4())
    shell.run("add-coupon-batch", "WELCOME", "1")
    shell.run(*REGISTER, "--user-id", user_id)
    shell.run("register-user", "Мария", "maria@example.com")

    ivan, maria = map(json.loads, shell.run("users", "--json").stdout.splitlines())

    assert (ivan["user_id"], ivan["name"], ivan["email"]) == (user_id, "Иван", "ivan@example.com")
    assert ivan["coupon_code"].startswith("WELCOME-")
    assert (maria["name"], maria["coupon_code"]) == ("Мария", None)
    assert "Иван <ivan@example.com>" in shell.run("users").stdout
    [batch] = map(json.loads, shell.run("coupon-batches", "--json").stdout.splitlines())
    assert batch == {"reference": "WELCOME", "quantity": 1, "remaining": 0}


def test_an_address_that_does_not_exist_is_shown_until_there_is_another_one(shell: Shell) -> None:
    """Nothing is sent there, and a person who looks at the list sees why."""
    user_id = str(uuid4())
    shell.run("register-user", "Иван", "ivan@example.invalid", "--user-id", user_id)
    before = shell.run("users").stdout, json.loads(shell.run("users", "--json").stdout)

    changed = shell.run("change-email", user_id, "new@example.com")

    after = shell.run("users").stdout, json.loads(shell.run("users", "--json").stdout)
    assert changed.exit_code == 0
    assert ["(no such address)" in lines for lines, _ in (before, after)] == [True, False]
    assert [row["email_undeliverable"] for _, row in (before, after)] == [True, False]
    assert after[1]["email"] == "new@example.com"


def test_a_coupon_is_redeemed_by_a_code_that_nothing_prints(shell: Shell) -> None:
    """The code is money. From standard input, it is in no history of a shell either."""
    shell.run("add-coupon-batch", "WELCOME", "1")
    registered = shell.run("--log-level", "debug", *REGISTER)
    [(code,)] = shell.rows("SELECT code FROM coupons")
    redeem = ("--log-level", "debug", "redeem-coupon")

    first = shell.run(*redeem, line=f" {code}\n")
    again = shell.run(*redeem, code)
    unknown = shell.run(*redeem, f"{code}7")

    assert [each.exit_code for each in (first, again, unknown)] == [0, 1, 1]
    assert again.stderr.endswith("error: the coupon was redeemed before\n")
    assert unknown.stderr.endswith("error: there is no coupon with this code\n")
    printed = [each.stdout + each.stderr for each in (registered, first, again, unknown)]
    assert [text for text in printed if code in text or "Hello" in text] == []
    kept = (shell.folder / "allocation-mail" / "new").iterdir()
    assert any(code in email.read_text() for email in kept)
    assert shell.rows("SELECT coupon_state FROM user_view") == [("redeemed",)]


def test_a_repeated_command_is_done_once(shell: Shell) -> None:
    """A script, or a till, that saw no answer can safely ask again; it fills no history."""
    user_id = str(uuid4())
    shell.run("add-coupon-batch", "WELCOME", "1")
    register = (*REGISTER, "--user-id", user_id)
    shell.run(*register)
    [(code,)] = shell.rows("SELECT code FROM coupons")
    redeem = ("redeem-coupon", code, "--redemption-id", str(uuid4()))
    change = ("change-email", user_id, "new@example.com")
    for command in (redeem, change):
        shell.run(*command)

    for command in (redeem, change):
        again = shell.run(*command)
        assert again.exit_code == 0
        assert again.stdout.endswith("nothing to do\n")

    assert shell.rows("SELECT count(*) FROM aftercommit_commands") == [(4,)]
    assert shell.run(*register).exit_code == 1  # the user has another address now


def test_a_refusal_is_one_line_and_exit_code_1(shell: Shell) -> None:
    """No traceback: nothing is wrong with the program."""
    shell.run(*REGISTER)

    result = shell.run("register-user", "Иван", "IVAN@example.com")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: e-mail address IVAN@example.com is already registered\n"


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("register-user", "Иван", "no-address"), "'no-address' is not of the form"),
        (("register-user", "", "ivan@example.com"), "name is empty"),
        (("register-user", "Иван\nBcc: x", "ivan@example.com"), "name has a line break"),
        ((*REGISTER, "--user-id", "7"), "not a valid UUID"),
        (("register-user", "Иван"), "Missing argument 'EMAIL'"),
        (("change-email", "7", "ivan@example.com"), "not a valid UUID"),
        (("add-coupon-batch", "WELCOME", "0"), "quantity 0 is not between 1"),
        (("add-coupon-batch", "A B", "1"), "reference 'A B' is not"),
        (("redeem-coupon", "A B"), "coupon code is not 1 to 80 of"),
        (("redeem-coupon",), "coupon code is not 1 to 80 of"),
        (("redeem-coupon", "A", "--redemption-id", "7"), "not a valid UUID"),
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
    shell: Shell, command: tuple[str, ...], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    result = shell.run(*command)

    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert not shell.database.exists()


def test_settings_that_contradict_each_other_are_exit_code_2(shell: Shell) -> None:
    """Better refused at start than wrong at night."""
    result = shell.run("users", lease_seconds="5", handler_timeout_seconds="10")

    assert result.exit_code == 2
    assert "shorter than ALLOCATION_LEASE_SECONDS" in result.stderr


def test_a_locked_database_is_exit_code_3(shell: Shell) -> None:
    """Another program holds it for longer than we wait."""
    shell.run("users")
    with closing(sqlite3.connect(shell.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = shell.run(*REGISTER, database_url="sqlite:///allocation.db?timeout=0.1")

    assert result.exit_code == 3
    assert result.stderr == "error: the database is not available: database is locked\n"


def make_a_diary(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE diary (text)")


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "there is none": (lambda file: file.symlink_to("no/such/folder/x.db"), "unable to open"),
    "another kind of file": (lambda file: file.write_text("dear diary" * 1000), "not a database"),
    "tables of another program": (make_a_diary, "is missing beside other tables"),
}


@pytest.mark.parametrize(("arrange", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_database_is_exit_code_3(
    shell: Shell, arrange: Callable[[Path], object], reason: str
) -> None:
    """Nothing is wrong with the input, and a database of others gets no tables of ours."""
    arrange(shell.database)

    result = shell.run("users")

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: the database ")
    assert reason in result.stderr
    assert not shell.database.exists() or b"coupon" not in shell.database.read_bytes()


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("allocation_9999", "install a newer one"), ("9999", "tables of something else")],
)
def test_a_schema_of_another_version_is_exit_code_3(
    shell: Shell, revision: str, advice: str
) -> None:
    """Guessing would destroy data; the message says what to do."""
    for _ in range(2):  # beforehand, for an application that may not create tables: once more
        assert shell.run("db", "upgrade").exit_code == 0
    shell.rows(f"UPDATE alembic_version SET version_num = '{revision}'")

    for command in (("users",), ("db", "upgrade")):
        result = shell.run(*command)
        assert result.exit_code == 3
        assert advice in result.stderr


@pytest.mark.parametrize("lost", [CommitOutcomeUnknown, partial(ConnectionLost, "it broke")])
def test_a_registration_whose_outcome_is_unknown_says_how_to_ask_again(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, lost: Callable[[], Exception]
) -> None:
    """The id was made by the program, and is needed to repeat the command."""

    async def lose(*arguments: object) -> None:
        raise lost()

    monkeypatch.setattr(MessageBus, "handle", lose)
    user_id = str(uuid4())
    result = shell.run(*REGISTER, "--user-id", user_id)

    assert result.exit_code == 3
    assert result.stderr == f"error: {lost()}; repeat it with --user-id {user_id}\n"


@pytest.mark.parametrize(
    "error", [WiringError("asks for\nwhat nobody provides", "name"), ZeroDivisionError("by zero")]
)
def test_a_mistake_in_the_program_is_exit_code_70(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With the traceback, for the developer who fixes it, and with the reason in the last line."""

    async def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(MessageBus, "handle", fail)
    result = shell.run(*REGISTER)

    assert result.exit_code == 70
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    reason = f"error: {type(error).__name__}: {error}".replace("\n", " ")
    assert result.stderr.splitlines()[-1] == reason


def test_a_failing_handler_is_announced_and_the_command_accepted(shell: Shell) -> None:
    """The user is registered; the e-mail is outstanding, or parked after the last attempt."""
    url = "maildir:allocation.db"  # a file, where no folder can be made

    parked = shell.run(*REGISTER, mail_url=url, max_attempts="1")
    retried = shell.run("register-user", "Мария", "maria@example.com", mail_url=url)

    assert parked.exit_code == retried.exit_code == 0
    assert "user registered: ivan@example.com" in parked.stdout
    assert "welcome e-mail" not in parked.stdout
    assert parked.stderr.startswith("1 delivery parked: send_welcome_email; ")
    assert "1 delivery will be retried: send_welcome_email in 1 s" in retried.stderr
    assert 'run "allocation worker"' in retried.stderr


def test_a_worker_warns_that_it_keeps_emails(shell: Shell) -> None:
    """A worker without a mail server also handles the deliveries of processes that have one."""
    result = shell.run("worker", "--until-idle")

    assert "WARNING" in result.stderr
    assert "e-mails are not sent, but kept in allocation-mail" in result.stderr
