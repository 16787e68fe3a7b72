"""The faults of the panel are real, and what is promised holds meanwhile."""

import pytest

from tests.e2e.processes import Application, wait_until
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


def test_the_panel_is_the_operators(application: Application) -> None:
    """Nobody else on this machine kills processes."""
    requests: list[tuple[str, dict[str, str] | None]] = [
        ("state", None),
        ("mail", {"state": "up"}),
        ("processes/web", {"action": "kill"}),
        ("experiments/killed", {}),
    ]
    with playing(application) as play:
        del play.client.headers["Authorization"]

        for path, body in requests:
            method = "GET" if body is None else "POST"
            answer = play.client.request(method, f"/playground/{path}", json=body)
            assert answer.status_code == 401, path
