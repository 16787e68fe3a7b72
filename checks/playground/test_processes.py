"""The processes of a playground are real: they can be broken, and nothing is left of them."""

import re
import signal
from pathlib import Path

import httpx
import pytest
from aftercommit_tests.processes import LIMIT_SECONDS, stat_of, wait_until

from checks.playground.playing import Playing, family_of, living
from checks.processes import Application

pytestmark = pytest.mark.check

GENTLE = (signal.SIGINT, signal.SIGTERM)
VIOLENT = (signal.SIGHUP, signal.SIGKILL)


@pytest.mark.parametrize(("fault", "remedy"), [("kill", "start"), ("freeze", "thaw")])
def test_who_gets_no_answer_asks_again_with_the_same_key(
    fault: str, remedy: str, play: Playing
) -> None:
    """The web process is broken amid a hundred registrations; each takes effect once.

    Twenty more are begun when it is: whatever was answered until then, these wait.
    """
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


def test_the_panel_is_the_operators(play: Playing) -> None:
    """Nobody else on this machine kills processes."""
    requests: list[tuple[str, dict[str, str] | None]] = [
        ("state", None),
        ("mail", {"state": "up"}),
        ("processes/web", {"action": "kill"}),
        ("experiments/killed", {}),
    ]
    del play.client.headers["Authorization"]

    for path, body in requests:
        method = "GET" if body is None else "POST"
        answer = play.client.request(method, f"/playground/{path}", json=body)
        assert answer.status_code == 401, path


@pytest.mark.parametrize("number", [*GENTLE, *VIOLENT], ids=lambda number: number.name)
def test_nothing_is_left_of_a_playground(number: signal.Signals, play: Playing) -> None:
    """One of its processes is stopped, and cannot notice anything; another waits for an e-mail."""
    play.order("mail", state="hangs")
    play.order("registrations", count=1)
    play.order("processes/worker-1", action="freeze")
    wait_until(lambda: stat_of(play.pids()["worker-1"])[0] == "T")
    family = family_of(play.process.pid)

    code = play.end(number)

    assert len(family) == 6  # itself, its keeper and what that keeps, and three to break
    assert code == (0 if number in GENTLE else -number)
    wait_until(lambda: family.isdisjoint(living()))
    wait_until(lambda: not play.folder.exists())


def test_the_page_is_opened_in_the_browser(application: Application, tmp_path: Path) -> None:
    """Nobody has to type anything; and what other users see in `ps` lets nobody else in."""
    opened, browser = tmp_path / "opened", tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o755)
    only_this = {"PATH": str(tmp_path), "DISPLAY": ":0"}  # with a display, others are looked for
    environment = application.environment() | only_this
    process = application.start("--port", "0", module=["playground"], environment=environment)
    try:
        wait_until(opened.exists)
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/#code=(\S{32})", opened.read_text())
        assert found
        answers = [
            httpx.post(f"{found[1]}/page/session", json={"token": found[2]}, timeout=LIMIT_SECONDS)
            for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [204, 401]
    finally:
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate()

    assert found[1] in told
    assert found[2] not in told
    assert process.returncode == 0
