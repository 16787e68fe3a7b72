"""Who replays the past or forgets it is killed at every step, and then repeated."""

import pytest

from tests.e2e.crashing import FORGETTING, REPLAYING
from tests.e2e.processes import Application

REPLAY = ("deliveries", "replay", "log_registration", "--again")
PRUNE = ("events", "prune", "--older-than", "0s")


@pytest.fixture
def application(on_each: Application) -> Application:
    """With two users, for whom everything is done, and one for whom nothing is."""
    on_each.run("register-user", "Иван", "ivan@example.com")
    on_each.run("register-user", "Мария", "maria@example.com")
    return on_each


def logged(application: Application) -> list[tuple[str, int]]:
    return application.rows(
        "SELECT email, count(*) FROM registration_log GROUP BY email ORDER BY 1"
    )


@pytest.mark.parametrize("point", REPLAYING)
def test_a_replay_survives_a_kill(point: str, application: Application) -> None:
    """Each event is done once more, not twice; the rest is found where it was left."""
    application.crash(point, *REPLAY)

    repeated = application.run(*REPLAY)

    assert repeated.returncode == 0, repeated.stderr
    assert application.run("worker", "--until-idle").returncode == 0
    assert logged(application) == [("ivan@example.com", 2), ("maria@example.com", 2)]
    assert application.rows("SELECT * FROM replays") == []


@pytest.mark.parametrize("point", FORGETTING)
def test_forgetting_survives_a_kill(point: str, application: Application) -> None:
    """What owes nothing is gone whole, what owes something is there whole, and is done."""
    application.run("register-user", "Анна", "anna@example.com", dispatch="worker")
    application.crash(point, *PRUNE)
    orphans = "SELECT * FROM deliveries WHERE event_id NOT IN (SELECT id FROM events)"
    assert application.rows(orphans) == []

    assert application.run(*PRUNE).returncode == 0

    assert application.rows("SELECT count(*) FROM events") == [(1,)]
    assert application.rows("SELECT count(*) FROM commands") == [(1,)]
    assert application.run("worker", "--until-idle").returncode == 0
    assert len(logged(application)) == 3
    assert application.run(*PRUNE).returncode == 0
    for table in ("events", "deliveries", "commands"):
        assert application.rows(f"SELECT * FROM {table}") == []
