"""What operators see of this application: its coupons, its read model, and no code of a coupon."""

import json
from uuid import uuid4

import pytest

from tests.commands import Shell

pytestmark = pytest.mark.on("asyncio")


def test_how_many_coupons_are_left_is_listed(shell: Shell) -> None:
    """Anyone who starts workers on a backlog wants to know before whether there are enough."""
    assert len(shell.run("coupon-batches").stdout.splitlines()) == 1
    for reference, quantity in (("WELCOME", "2"), ("SPRING", "5")):
        shell.run("add-coupon-batch", reference, quantity)
    shell.run("register-user", "new", "new@example.com")

    listed = shell.run("coupon-batches").stdout.splitlines()
    as_json = shell.run("coupon-batches", "--json").stdout.splitlines()

    assert [line.split() for line in listed] == [
        ["REFERENCE", "REMAINING", "QUANTITY"],
        ["SPRING", "4", "5"],
        ["WELCOME", "2", "2"],
    ]
    assert json.loads(as_json[0]) == {"reference": "SPRING", "quantity": 5, "remaining": 4}


def test_the_list_of_users_is_made_again(shell: Shell) -> None:
    """Without any events, and also from those of the past."""
    shell.run("register-user", "Иван", "ivan@example.com")
    before = shell.run("users").stdout
    replayed = shell.run("deliveries", "replay", "refresh_user_view", "--again", "--yes")
    assert '1 delivery due now; run "allocation worker"' in replayed.stdout
    shell.run("worker", "--until-idle")
    shell.run("events", "prune", "--older-than", "0s")
    shell.rows("UPDATE user_view SET name = '?'")

    rebuilt = shell.run("rebuild-users")

    assert (rebuilt.exit_code, rebuilt.stdout) == (0, "1 user rebuilt\n")
    assert shell.run("users").stdout == before


def test_a_trace_is_found_by_address_and_has_no_code_in_it(shell: Shell) -> None:
    """The code of a coupon is money."""
    shell.run("add-coupon-batch", "WELCOME", "1")
    shell.run("register-user", "Иван", "ivan@example.com")
    [(code,)] = shell.rows("SELECT code FROM coupons")

    text = shell.run("trace", "IVAN@example.com").stdout
    as_json = shell.run("trace", "ivan@example.com", "--json").stdout

    assert "└── user_registered  Иван <ivan@example.com>  " in text
    assert "coupon_allocated  WELCOME  " in text
    assert code not in text + as_json
    malformed = shell.run("trace", "ivan@")
    assert malformed.exit_code == 2
    assert "e-mail address 'ivan@' is not of the form name@example.com" in malformed.stderr


def test_whoever_delivers_needs_a_place_for_emails(shell: Shell) -> None:
    """Beside a database on a server there is none by itself; who only looks needs none."""
    url = "postgresql://127.0.0.1:1/allocation"
    delivering = [
        ("register-user", "Иван", "ivan@example.com"),
        ("change-email", str(uuid4()), "ivan@example.com"),
        ("add-coupon-batch", "WELCOME", "1"),
        ("worker",),
    ]
    for command in delivering:
        result = shell.run(*command, database_url=url)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "error: ALLOCATION_MAIL_URL is not set, and only a SQLite file" in result.stderr

    looking = ["users", "db upgrade", "deliveries list", "events prune --older-than 1d"]
    for words in (*map(str.split, looking), *delivering[:3]):
        result = shell.run(*words, database_url=url, dispatch="worker")
        assert result.exit_code == 3
        assert "the database is not available" in result.stderr
