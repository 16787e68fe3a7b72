"""What operators see of this application: its coupons, its read model, and no code of a coupon."""

import json

import pytest

from tests.command_line import Application


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


def test_the_list_of_users_is_made_again(application: Application) -> None:
    """Without any events, and also from those of the past."""
    application.run("register-user", "Иван", "ivan@example.com")
    before = application.run("users").stdout
    replayed = application.run("deliveries", "replay", "refresh_user_view", "--again", "--yes")
    assert '1 delivery due now; run "allocation worker"' in replayed.stdout
    application.run("worker", "--until-idle")
    application.run("events", "prune", "--older-than", "0s")
    application.rows_changed("UPDATE user_view SET name = '?'")

    rebuilt = application.run("rebuild-users")

    assert (rebuilt.returncode, rebuilt.stdout) == (0, "1 user rebuilt\n")
    assert application.run("users").stdout == before


def test_a_trace_is_found_by_address_and_has_no_code_in_it(application: Application) -> None:
    """The code of a coupon is money."""
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run("register-user", "Иван", "ivan@example.com")
    [(code,)] = application.rows("SELECT code FROM coupons")

    text = application.run("trace", "IVAN@example.com").stdout
    as_json = application.run("trace", "ivan@example.com", "--json").stdout

    assert "└── user_registered  Иван <ivan@example.com>  " in text
    assert "coupon_allocated  WELCOME-…  " in text
    assert code not in text + as_json
    malformed = application.run("trace", "ivan@")
    assert malformed.returncode == 2
    assert "e-mail address 'ivan@' is not of the form name@example.com" in malformed.stderr


@pytest.mark.parametrize("command", ["deliveries list", "events prune --older-than 1d"])
def test_whoever_only_looks_needs_no_place_for_emails(
    application: Application, command: str
) -> None:
    """Beside a database on a server there is none by itself."""
    result = application.run(*command.split(), database_url="postgresql://127.0.0.1:1/allocation")

    assert result.returncode == 3
    assert "the database is not available" in result.stderr
