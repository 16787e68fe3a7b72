"""The faults of the panel are real, and what is promised holds meanwhile."""

from collections import Counter

import pytest

from tests.e2e.processes import Application, stat_of, wait_until
from tests.project.playground.playing import playing


@pytest.mark.parametrize(("fault", "remedy"), [("kill", "start"), ("freeze", "thaw")])
def test_who_gets_no_answer_asks_again_with_the_same_key(
    fault: str, remedy: str, application: Application
) -> None:
    """The web process is broken amid a hundred registrations; each takes effect once.

    Twenty more are begun when it is: whatever was answered until then, these wait.
    """
    with playing(application) as play:
        play.order("registrations", count=100)
        wait_until(lambda: play.state()["registering"]["answered"] > 5)
        play.order("processes/web", action=fault)
        until_then = play.state()["registering"]["repeated"]
        play.order("registrations", count=20)
        wait_until(lambda: play.state()["registering"]["repeated"] > until_then)
        play.order("processes/web", action=remedy)
        wait_until(lambda: play.state()["registering"]["answered"] == 120)

        assert play.state()["registering"]["waiting"] == 0
        assert play.rows("SELECT count(*), count(DISTINCT email) FROM users") == [(120, 120)]
        registrations = "SELECT count(*) FROM aftercommit_events WHERE type = 'user_registered'"
        assert play.rows(registrations) == [(120,)]


def test_an_address_that_is_taken_is_passed_over(application: Application) -> None:
    """Somebody has typed in an address that the panel would have used."""
    with playing(application) as play:
        user = {"name": "Мария", "email": "user-1@example.com"}
        play.client.post("/users", json=user).raise_for_status()
        play.order("registrations", count=1)
        wait_until(lambda: play.state()["registering"]["answered"] == 1)

        assert play.rows("SELECT email FROM users ORDER BY email") == [
            ("user-1@example.com",),
            ("user-2@example.com",),
        ]


def test_processes_are_frozen_and_thawed_killed_and_started(application: Application) -> None:
    """What the panel says is what the operating system says."""

    def shown(name: str) -> object:
        return {each["name"]: each["state"] for each in play.state()["processes"]}[name]

    with playing(application) as play:
        first = play.pids()["worker-2"]
        play.order("processes/worker-2", action="freeze")
        wait_until(lambda: stat_of(first)[0] == "T")
        assert shown("worker-2") == "frozen"
        play.order("processes/worker-2", action="thaw")
        wait_until(lambda: stat_of(first)[0] != "T")
        assert shown("worker-2") == "running"
        play.order("processes/worker-2", action="kill")
        assert shown("worker-2") == "gone"
        play.order("processes/worker-2", action="start")

        assert shown("worker-2") == "running"
        assert play.pids()["worker-2"] != first


def test_one_experiment_at_a_time(application: Application) -> None:
    """Two would break each other's world."""
    with playing(application) as play:
        play.order("experiments/poison")

        refused = play.client.post("/playground/experiments/mail", json={})

        assert refused.status_code == 409
        assert "'poison' has not come to its end" in refused.json()["detail"]


def test_the_panel_is_the_operators(application: Application) -> None:
    """Nobody else on this machine kills processes."""
    with playing(application) as play:
        missing = play.client.get("/playground/nothing.js")
        assert missing.status_code == 404
        del play.client.headers["Authorization"]

        answers = Counter(
            play.client.request(method, path, json=body).status_code
            for method, path, body in (
                ("GET", "/playground/state", None),
                ("POST", "/playground/mail", {"state": "up"}),
                ("POST", "/playground/processes/web", {"action": "kill"}),
                ("POST", "/playground/experiments/killed", {}),
            )
        )

        assert answers == {401: 4}
