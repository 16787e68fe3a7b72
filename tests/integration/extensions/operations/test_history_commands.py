"""The commands about the past, in this process."""

import json
import re

import pytest

from tests.command_line import Application

REPLAY = ("deliveries", "replay")
LOGGED = "SELECT email FROM registration_log"


@pytest.fixture
def application(application: Application) -> Application:
    """With two users, whose registration was never logged, as before there was a log."""
    for name in ("ivan", "maria"):
        assert application.run("register-user", name, f"{name}@example.com").returncode == 0
    application.rows_changed(
        "DELETE FROM aftercommit_deliveries WHERE handler = 'log_registration'"
    )
    application.rows_changed("DELETE FROM registration_log")
    return application


def test_a_handler_that_was_added_later_does_the_past(application: Application) -> None:
    """As many times as there are events; repeating the command changes nothing."""
    dry = application.run(*REPLAY, "log_registration", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "2 deliveries of past events to log_registration\n")
    assert application.run("deliveries", "list").stdout == ""

    replayed = application.run(*REPLAY, "log_registration")

    assert replayed.stdout.splitlines() == [
        "2 deliveries of past events to log_registration",
        '2 deliveries due now; run "allocation worker"',
    ]
    assert application.run(*REPLAY, "log_registration").stdout.startswith("0 deliveries")
    assert application.run("worker", "--until-idle").returncode == 0
    assert sorted(application.rows(LOGGED)) == [("ivan@example.com",), ("maria@example.com",)]
    assert application.run(*REPLAY, "log_registration").stdout.startswith("0 deliveries")


def test_what_is_for_later_is_scheduled_and_not_pending(application: Application) -> None:
    """So the command has come to its end, and how long that took is known; a replay says when."""
    application.run("add-coupon-batch", "WELCOME", "2")
    application.run("register-user", "anna", "anna@example.com")

    assert application.run("history", "--limit", "1").stdout.endswith(" ms\n")
    [line] = application.run("history", "--limit", "1", "--json").stdout.splitlines()
    row = json.loads(line)
    assert (row["done"], row["pending"], row["scheduled"]) == (6, 0, 2)
    assert row["seconds"] is not None

    application.rows_changed("DELETE FROM aftercommit_deliveries WHERE handler = 'expire_coupon'")
    replayed = application.run(*REPLAY, "expire_coupon", "--yes").stdout
    assert '1 delivery, each due 30 d after its event; run "allocation worker"' in replayed
    assert application.run("worker", "--until-idle").returncode == 0
    assert application.rows("SELECT state FROM coupons") == [("allocated",)]


def test_what_was_done_is_done_again_if_that_is_asked_for(application: Application) -> None:
    """A read model that is made anew."""
    handler = ("refresh_user_view", "--again", "--event-type", "user_registered", "--yes")
    replayed = application.run(*REPLAY, *handler)

    assert replayed.stdout.endswith('2 deliveries due now; run "allocation worker"\n')
    assert application.run("worker", "--until-idle").returncode == 0
    assert (
        application.rows("SELECT attempts, token FROM aftercommit_deliveries WHERE replay")
        == [(1, 3)] * 2
    )


EFFECTS = "send_welcome_email has effects outside.*--allow-side-effects"


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["log_everything"], 2, "is no handler of events that can run here: none of allocate_"),
        (["log_registration", "--event-type", "x"], 2, "'x' is none of those of log_registration"),
        (["send_welcome_email"], 1, EFFECTS),
        (["allocate_welcome_coupon", "--again"], 1, "allocate_.* keeps no read model"),
        (["log_registration", "--again"], 1, "log_registration keeps no read model"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    application: Application, arguments: list[str], code: int, complaint: str
) -> None:
    """Nobody wants to be welcomed years later by mistake, or gets two coupons."""
    application.rows_changed(
        "DELETE FROM aftercommit_deliveries WHERE handler = 'send_welcome_email'"
    )
    before = application.rows("SELECT * FROM aftercommit_deliveries")

    refused = application.run(*REPLAY, *arguments, "--yes")

    assert (refused.returncode, refused.stdout) == (code, "")
    assert re.search(complaint, refused.stderr)
    assert application.rows("SELECT * FROM aftercommit_deliveries") == before


def test_a_handler_with_an_effect_outside_needs_a_word_more(application: Application) -> None:
    """Then it has its effects for the past."""
    application.rows_changed(
        "DELETE FROM aftercommit_deliveries WHERE handler = 'send_welcome_email'"
    )

    allowed = application.run(*REPLAY, "send_welcome_email", "--allow-side-effects")

    assert allowed.stdout.endswith('2 deliveries due now; run "allocation worker"\n')


def test_the_list_of_users_is_made_anew(application: Application) -> None:
    """Without any events."""
    before = application.run("users").stdout
    application.run("events", "prune", "--older-than", "0s")
    application.rows_changed("UPDATE user_view SET name = '?'")

    rebuilt = application.run("rebuild-users")

    assert (rebuilt.returncode, rebuilt.stdout) == (0, "2 users rebuilt\n")
    assert application.run("users").stdout == before
