"""The commands `trace` and `history`, in this process."""

import json

import pytest
from aftercommit.extensions.operations import causation_queries

from tests.command_line import Application

KEYS = (
    "kind id parent correlation_id name about subject state attempts token replay seconds owner"
    " available_at completed_at parked_at error failures"
)
HISTORY = (
    "id type source correlation_id accepted_at about"
    " done discarded pending scheduled parked seconds"
)


def test_what_is_not_known_is_exit_code_1(application: Application) -> None:
    """Also where it should be followed: it would be for ever."""
    no_id = "no trace, command, event or subject is found by 5f2c8a91"
    nobody = "no trace, command, event or subject is found by ivan@example.com"
    for arguments, said in ((["5f2c8a91"], no_id), (["ivan@example.com", "--follow"], nobody)):
        result = application.run("trace", *arguments)

        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"error: {said}\n"


def test_a_registration_is_told_as_a_tree(application: Application) -> None:
    """All that it caused, and who has done it when; but never the code, which is money."""
    application.run("add-coupon-batch", "WELCOME", "1")
    application.run("register-user", "Иван", "ivan@example.com", instance_name="front")
    [(code,)] = application.rows("SELECT code FROM coupons")

    text = application.run("trace", "IVAN@example.com").stdout
    as_json = application.run("trace", "ivan@example.com", "--json", "--follow").stdout

    command, registered, allocate, allocated, *_ = text.splitlines()
    assert command.startswith("register_user  cli, 20")
    assert registered.startswith("└── user_registered  Иван <ivan@example.com>  ")
    assert allocate.startswith("    ├── allocate_welcome_coupon  done in ")
    assert allocate.endswith(" ms, by front")
    assert allocated.startswith("    │   └── coupon_allocated  WELCOME-…  ")
    assert code not in text + as_json
    nodes = [json.loads(line) for line in as_json.splitlines()]
    assert [" ".join(node) for node in nodes[:3]] == [KEYS] * 3
    assert nodes[2]["id"] == f"{nodes[1]['id']}:allocate_welcome_coupon"
    assert nodes[2]["owner"].startswith("front@")
    assert [node["parent"] for node in nodes[:4]] == [None, *(node["id"] for node in nodes[:3])]
    states = {node.get("name"): node["state"] for node in nodes if node["state"] != "done"}
    assert states == {"expire_coupon": "scheduled", "send_coupon_reminder": "scheduled"}
    done = [node for node in nodes if node["state"] == "done"]
    assert all(node["completed_at"].endswith("Z") for node in done)


def test_what_failed_is_found_and_its_reason_told(application: Application) -> None:
    """From the list of those that failed to the tree of one of them, by its short id."""
    application.run("register-user", "Мария", "maria@example.com")
    failing = {"mail_url": "maildir:allocation.db", "max_attempts": "1"}  # a file, not a folder
    application.run("register-user", "Иван", "ivan@example.com", **failing)

    assert application.run("history").stdout.count("register_user") == 2
    _, line = application.run("history", "--failed").stdout.splitlines()
    assert "register_user  Иван <ivan@example.com>  " in line
    assert "3 done, 1 parked in " in line
    short_id = next(word for word in line.split() if word.endswith("…"))
    told = application.run("trace", short_id, "--follow").stdout
    assert "send_welcome_email       parked 20" in told
    assert "FileExistsError" in told
    assert "· attempt 1 failed 20" in told

    (row,) = map(json.loads, application.run("history", "--failed", "--json").stdout.splitlines())
    assert " ".join(row) == HISTORY
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


def test_a_trace_that_is_too_long_says_so(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what is missing would be taken for what never happened."""
    application.run("register-user", "Иван", "ivan@example.com")
    whole = application.run("trace", "ivan@example.com")

    monkeypatch.setattr(causation_queries, "MAX_ROWS", 3)
    cut = application.run("trace", "ivan@example.com", "--json")

    assert whole.stderr == ""
    assert (cut.returncode, cut.stderr) == (
        0,
        "not all is shown: there are more than 3 attempts or commands\n",
    )
    assert len(cut.stdout.splitlines()) < len(whole.stdout.splitlines())


def test_nothing_has_no_history(application: Application) -> None:
    """A new database is no error."""
    assert application.run("history") == application.run("history", "--json")
    assert application.run("history").stdout == ""
