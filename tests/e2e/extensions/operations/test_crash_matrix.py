"""Whatever works through many rows is killed at every step, and then repeated."""

import pytest

from tests.e2e.crashing import FORGETTING, IMPORTING, REPLAYING
from tests.e2e.processes import Application, owed

REPLAY = ("deliveries", "replay", "log_registration")
PRUNE = ("events", "prune", "--older-than", "0s")
IMPORT = ("import-users", "users.csv")
USERS = 25


@pytest.fixture
def application(on_each: Application) -> Application:
    """With two users, for whom everything is done, and one for whom nothing is."""
    on_each.run("register-user", "Иван", "ivan@example.com")
    on_each.run("register-user", "Мария", "maria@example.com")
    return on_each


def count(application: Application, table: str) -> int:
    [(number,)] = application.rows(f"SELECT count(*) FROM {table}")
    return int(number)


def logged(application: Application) -> list[tuple[str, int]]:
    return application.rows(
        "SELECT email, count(*) FROM registration_log GROUP BY email ORDER BY 1"
    )


@pytest.mark.parametrize("point", REPLAYING)
def test_a_replay_survives_a_kill(point: str, application: Application) -> None:
    """Each past event is done by the handler that was added later, and by no second delivery."""
    application.change("DELETE FROM aftercommit_deliveries WHERE handler = 'log_registration'")
    application.crash(point, *REPLAY)

    repeated = application.run(*REPLAY)

    assert repeated.returncode == 0, repeated.stderr
    assert application.run("worker", "--until-idle").returncode == 0
    assert logged(application) == [("ivan@example.com", 2), ("maria@example.com", 2)]


@pytest.mark.parametrize("point", FORGETTING)
def test_forgetting_survives_a_kill(point: str, application: Application) -> None:
    """What owes nothing is gone whole, what owes something is there whole, and is done."""
    application.run("register-user", "Анна", "anna@example.com", dispatch="worker")
    application.crash(point, *PRUNE)
    stored = "SELECT id FROM aftercommit_events"
    orphans = f"SELECT * FROM aftercommit_deliveries WHERE event_id NOT IN ({stored})"
    assert application.rows(orphans) == []

    assert application.run(*PRUNE).returncode == 0

    assert (
        count(application, "aftercommit_events"),
        count(application, "aftercommit_commands"),
    ) == (1, 1)
    assert application.run("worker", "--until-idle").returncode == 0
    assert len(logged(application)) == 3
    assert application.run(*PRUNE).returncode == 0
    for table in ("aftercommit_events", "aftercommit_deliveries", "aftercommit_commands"):
        assert count(application, table) == 0


@pytest.mark.parametrize("dispatch", ["inline", "worker"])
@pytest.mark.parametrize("point", IMPORTING)
def test_an_import_survives_a_kill(point: str, dispatch: str, on_each: Application) -> None:
    """A chunk is there whole or not at all; nothing is lost or doubled by repeating it."""
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(USERS))
    (on_each.folder / "users.csv").write_text("name,email\n" + rows)
    on_each.crash(point, *IMPORT, "--dispatch", dispatch)
    chunk = 10 if dispatch == "inline" else USERS
    is_committed = point.startswith("after")
    found = count(on_each, "users")
    assert found == (chunk if is_committed else 0)
    registered = count(on_each, "aftercommit_events WHERE type = 'user_registered'")
    assert registered == found
    assert count(on_each, "aftercommit_commands") == is_committed

    repeated = on_each.run(*IMPORT, "--dispatch", dispatch)

    assert repeated.returncode == 0, repeated.stderr
    assert repeated.stdout == f"imported {USERS - found}, already there {found}, refused 0\n"
    on_each.end_leases()
    assert on_each.run("worker", "--until-idle").returncode == 0
    for table in ("users", "registration_log", "user_view"):
        assert count(on_each, table) == USERS
    assert count(on_each, "(SELECT DISTINCT email FROM registration_log) AS logged") == USERS
    assert owed(on_each) == []
