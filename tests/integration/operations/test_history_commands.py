"""The commands about the past, in this process."""

import json
from collections import Counter

import pytest

from tests.command_line import Application

REPLAY = ("deliveries", "replay")
LOGGED = "SELECT email FROM registration_log"


@pytest.fixture
def application(application: Application) -> Application:
    """With two users, whose registration was never logged, as before there was a log."""
    for name in ("ivan", "maria"):
        assert application.run("register-user", name, f"{name}@example.com").returncode == 0
    application.rows_changed("DELETE FROM deliveries WHERE handler = 'log_registration'")
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


def test_what_was_done_is_done_again_if_that_is_asked_for(application: Application) -> None:
    """A read model that is made anew."""
    handler = ("refresh_user_view", "--again", "--event-type", "user_registered", "--yes")
    replayed = application.run(*REPLAY, *handler)

    assert replayed.stdout.endswith('2 deliveries due now; run "allocation worker"\n')
    assert application.run("worker", "--until-idle").returncode == 0
    assert application.rows("SELECT attempts, token FROM deliveries WHERE replay") == [(1, 3)] * 2


def test_a_handler_with_an_effect_outside_needs_a_word_more(application: Application) -> None:
    """Nobody wants to be welcomed years later by mistake."""
    refused = application.run(*REPLAY, "send_welcome_email", "--again")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "send_welcome_email has an effect outside" in refused.stderr
    assert "--outside-effects" in refused.stderr

    allowed = application.run(*REPLAY, "send_welcome_email", "--again", "--outside-effects")
    assert allowed.stdout.endswith('2 deliveries due now; run "allocation worker"\n')


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("log_everything",), "is no handler of events that can run here: none of allocate_"),
        (("log_registration", "--event-type", "x"), "'x' is none of those of log_registration"),
        (("log_registration", "--since", "long"), "'long' is not a number followed by"),
    ],
)
def test_what_cannot_be_replayed_is_exit_code_2(
    application: Application, arguments: tuple[str, ...], complaint: str
) -> None:
    """The message says what there is."""
    refused = application.run(*REPLAY, *arguments)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert complaint in refused.stderr


def test_an_interrupted_replay_says_that_it_goes_on(application: Application) -> None:
    """Or says how to end it, if it is asked for another one; it can be given up, too."""
    application.rows_changed(
        "INSERT INTO replays VALUES ('log_registration', '--event-type user_registered',"
        " (SELECT max(recorded_at) FROM events), (SELECT min(recorded_at) FROM events),"
        " 'ffffffffffffffffffffffffffffffff')"
    )
    dry = application.run(*REPLAY, "log_registration", "--dry-run")
    assert dry.stdout == "1 delivery of past events to log_registration; it goes on where it was\n"

    other = application.run(*REPLAY, "log_registration", "--again")
    assert (other.returncode, other.stdout) == (1, "")
    assert 'finish it, with exactly "--event-type user_registered"' in other.stderr

    dropped = application.run(*REPLAY, "log_registration", "--drop")
    assert dropped.stdout.startswith("the replay of log_registration is forgotten")
    assert application.run(*REPLAY, "log_registration", "--drop").returncode == 1
    assert application.run(*REPLAY, "log_registration").stdout.startswith("2 deliveries of")


def test_the_list_of_users_is_made_anew(application: Application) -> None:
    """Without any events."""
    before = application.run("users").stdout
    application.run("events", "prune", "--older-than", "0s")
    application.rows_changed("UPDATE user_view SET name = '?'")

    rebuilt = application.run("rebuild-users")

    assert (rebuilt.returncode, rebuilt.stdout) == (0, "2 users rebuilt\n")
    assert application.run("users").stdout == before


def test_how_many_coupons_are_left_is_listed(application: Application) -> None:
    """Whoever starts workers on a backlog wants to know before whether there are enough."""
    assert application.run("coupon-batches").stdout == ""
    for reference, quantity in (("WELCOME", "2"), ("SPRING", "5")):
        application.run("add-coupon-batch", reference, quantity)
    application.run("register-user", "new", "new@example.com")

    listed = application.run("coupon-batches").stdout.splitlines()
    as_json = application.run("coupon-batches", "--json").stdout.splitlines()

    assert listed == ["SPRING  4 of 5 left", "WELCOME  2 of 2 left"]
    assert json.loads(as_json[0]) == {"reference": "SPRING", "quantity": 5, "remaining": 4}


def test_what_is_done_is_listed_if_all_is_asked_for(application: Application) -> None:
    """After what is owed: first what is tried, then what is parked."""
    application.run("register-user", "new", "new@example.com", dispatch="worker")
    application.rows_changed(
        "UPDATE deliveries SET parked_at = 1, due_at = 1"
        " WHERE finished_at IS NULL AND handler = 'send_welcome_email'"
    )

    listed = application.run("deliveries", "list", "--all").stdout.splitlines()
    as_json = application.run("deliveries", "list", "--all", "--json").stdout.splitlines()

    states = [line.partition(", ")[2].split()[0] for line in listed]
    assert Counter(states) == {"due": 3, "parked": 1, "done": 6}
    assert states == ["due"] * 3 + ["parked"] + ["done"] * 6
    done = [row for row in map(json.loads, as_json) if row["finished_at"]]
    assert len(done) == 6
    assert {(row["due_at"], row["parked_at"]) for row in done} == {(None, None)}
    assert application.run("deliveries", "list", "--all", "--parked").returncode == 2
