"""The commands `trace` and `history`, in this process."""

import json

import pytest

from tests.command_line import Application

KEYS = [
    "kind",
    "id",
    "parent",
    "name",
    "state",
    "attempts",
    "seconds",
    "process",
    "due_at",
    "finished_at",
    "error",
]
HISTORY_KEYS = [
    "id",
    "type",
    "source",
    "correlation_id",
    "accepted_at",
    "done",
    "discarded",
    "waiting",
    "parked",
    "seconds",
]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("trace", "5f2c"), "ID '5f2c' is neither an e-mail address nor an id"),
        (("trace", "ivan@"), "e-mail address 'ivan@' is not of the form name@example.com"),
        (("history", "--limit", "0"), "0 is not in the range 1<=x<=1000"),
    ],
)
def test_malformed_input_is_exit_code_2(
    application: Application, command: tuple[str, ...], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    application.refuses(*command, complaint=complaint)


def test_what_is_not_known_is_exit_code_1(application: Application) -> None:
    """Also where it should be followed: it would be for ever."""
    for arguments in (("5f2c8a91",), ("ivan@example.com", "--follow", "--json")):
        result = application.run("trace", *arguments)

        assert (result.returncode, result.stdout) == (1, "")
        assert f"error: nothing is stored about {arguments[0]}; it was looked" in result.stderr


def test_a_registration_is_told_as_a_tree(application: Application) -> None:
    """All that it caused, and who has done it when; but never the code, which is money."""
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run("register-user", "Иван", "ivan@example.com", process_name="front")
    [(code,)] = application.rows("SELECT code FROM coupons")

    text = application.run("trace", "IVAN@example.com").stdout
    as_json = application.run("trace", "ivan@example.com", "--json", "--follow").stdout

    command, registered, allocate, allocated, *_ = text.splitlines()
    assert command.startswith("register_user  cli, 20")
    assert registered.startswith("└─ user_registered  Иван <ivan@example.com>  ")
    assert allocate.startswith("   ├─ allocate_welcome_coupon  done in ")
    assert allocate.endswith(" ms, by front")
    assert allocated.startswith("   │  └─ coupon_allocated  WELCOME-…  ")
    assert code not in text + as_json
    nodes = [json.loads(line) for line in as_json.splitlines()]
    assert [list(node) for node in nodes[:2]] == [KEYS, KEYS]
    assert list(nodes[2]) == [*KEYS, "failures"]
    assert nodes[2]["id"] == f"{nodes[1]['id']}:allocate_welcome_coupon"
    assert nodes[2]["process"].startswith("front@")
    assert [node["parent"] for node in nodes[:4]] == [None, *(node["id"] for node in nodes[:3])]
    assert {node["state"] for node in nodes} == {"done"}
    assert all(node["finished_at"].endswith("Z") for node in nodes)


# room: smtp
def test_what_failed_is_found_and_its_reason_told(application: Application) -> None:
    """From the list of those that failed to the tree of one of them, by its short id."""
    application.run("register-user", "Мария", "maria@example.com")
    failing = {"mail_url": "smtp://127.0.0.1:1", "max_attempts": "1"}
    application.run("register-user", "Иван", "ivan@example.com", **failing)

    assert application.run("history").stdout.count("register_user") == 2
    (line,) = application.run("history", "--failed").stdout.splitlines()
    assert "register_user  Иван <ivan@example.com>  " in line
    assert "3 done, 1 parked in " in line
    short_id = next(word for word in line.split() if word.endswith("…"))
    told = application.run("trace", short_id, "--follow").stdout
    assert "send_welcome_email       parked 20" in told
    assert "Connection refused" in told
    assert "         · attempt 1 failed 20" in told

    (row,) = map(json.loads, application.run("history", "--failed", "--json").stdout.splitlines())
    assert list(row) == HISTORY_KEYS
    assert (row["type"], row["source"], row["parked"], row["done"]) == (
        "register_user",
        "cli",
        1,
        3,
    )
    application.run("deliveries", "retry", "--all-parked")
    application.run("worker", "--until-idle")
    assert application.run("history", "--failed").stdout == ""
    assert "done in " in application.run("trace", row["correlation_id"]).stdout


# end
def test_nothing_has_no_history(application: Application) -> None:
    """A new database is no error."""
    assert application.run("history") == application.run("history", "--json")
    assert application.run("history").stdout == ""
