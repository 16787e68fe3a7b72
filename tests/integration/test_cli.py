"""The command line, in this process: input, output and exit codes."""

import json
from collections.abc import Callable
from functools import partial
from uuid import UUID, uuid4

import pytest
from aftercommit import CommitOutcomeUnknown, ConnectionLost, MessageBus

from tests.commands import Shell

pytestmark = pytest.mark.on("trio")

REGISTER = ("register-user", "Иван", "ivan@example.com")


def test_the_demo_lists_the_users_it_registers_and_leaves_nothing_behind(shell: Shell) -> None:
    """The first command that a reader runs must work anywhere, on a database of its own."""
    result = shell.run("demo")

    assert (result.exit_code, result.stderr) == (0, "")
    for user in ("Иван <ivan@example.com>", "Мария <maria@example.com>"):
        assert f"RegisterUser             {user} → UserRegistered " in result.stdout
        assert user in "".join(result.stdout.splitlines()[-2:])
    assert list(shell.folder.iterdir()) == []


def test_a_registration_prints_what_happened(shell: Shell) -> None:
    """A user reads it on stdout; logs would go to stderr, but there is nothing to log."""
    shell.run("add-coupon-batch", "WELCOME", "10")

    result = shell.run(*REGISTER)

    assert (result.exit_code, result.stderr) == (0, "")
    first, *others = result.stdout.splitlines()
    user_id = UUID(shell.rows("SELECT id FROM users")[0][0])
    assert first.endswith(f" Иван <ivan@example.com> → UserRegistered {user_id}")
    for words in ("send_welcome_email ", "log_registration ", "→ CouponAllocated WELCOME"):
        assert [line for line in others if words in line]


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


def test_an_address_that_does_not_exist_is_shown_until_there_is_another_one(shell: Shell) -> None:
    """Nothing is sent there, and an operator who looks at the list sees why."""
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
    assert "→ CouponRedeemed " in first.stdout
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
        assert again.stdout.endswith("→ no event\n")

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
        (("register-user", "", "ivan@example.com"), "name has 0 characters"),
        (("register-user", "Иван\nBcc: x", "ivan@example.com"), "name has a line break"),
        ((*REGISTER, "--user-id", "7"), "not a valid UUID"),
        (("register-user", "Иван"), "Missing argument 'EMAIL'"),
        (("change-email", "7", "ivan@example.com"), "not a valid UUID"),
        (("add-coupon-batch", "WELCOME", "0"), "0 is not in the range 1<=x<=1000000000"),
        (("add-coupon-batch", "A B", "1"), "reference has characters other than A-Z"),
        (("redeem-coupon", "A B"), "coupon code has characters other than A-Z"),
        (("redeem-coupon",), "coupon code has 0 characters"),
        (("redeem-coupon", "A", "--redemption-id", "7"), "not a valid UUID"),
        (("--mail-url", "http://x", "users"), "error: mail URL is not of the form smtp:"),
        (
            ("--database-url", "postgresql://x@127.0.0.1:1/x", *REGISTER),
            "ALLOCATION_MAIL_URL is not",
        ),
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


def test_a_worker_warns_that_it_keeps_emails(shell: Shell) -> None:
    """A worker without a mail server also handles the deliveries of processes that have one."""
    result = shell.run("worker", "--until-idle")

    assert "WARNING" in result.stderr
    assert "e-mails are not sent, but kept in allocation-mail" in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        *(
            f"{scheme}ivan:hunter2@mail.example.com"
            for scheme in ("smtp//", "smpt://", "smtp:/", "")
        ),
        "smtp://ivan:hunter2@mail.example.com:port",
        "smtp://ivan:p@hunter2@mail.example.com?starttls=yes",
        "smtp://ivan:p/hunter2@mail.example.com",
        "smtp://ivan:p@mail.example.com?hunter2=1",
        "smtp://hunter2ü@mail.example.com",
    ],
)
def test_a_wrong_mail_url_is_refused_without_a_piece_of_its_password(
    shell: Shell, url: str
) -> None:
    """A user passes on what is printed."""
    result = shell.run("--mail-url", url, "register-user", "Ivan", "ivan@example.com")

    assert result.exit_code == 2
    assert "error: mail URL is not of the form smtp:" in result.stderr
    assert "hunter2" not in result.output
