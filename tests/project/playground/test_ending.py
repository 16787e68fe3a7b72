"""How a playground begins; and that nothing is left of it, however it ends."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import LIMIT_SECONDS, Application, stat_of, wait_until
from tests.project.playground.playing import family_of, is_alive, playing

GENTLE = (signal.SIGINT, signal.SIGTERM)
VIOLENT = (signal.SIGHUP, signal.SIGKILL)


@pytest.mark.parametrize("number", [*GENTLE, *VIOLENT], ids=lambda number: number.name)
def test_nothing_is_left_of_a_playground(number: signal.Signals, application: Application) -> None:
    """One of its processes is stopped, and cannot notice anything; another waits for an e-mail."""
    with playing(application) as play:
        play.order("mail", state="hangs")
        play.order("registrations", count=1)
        play.order("processes/worker-1", action="freeze")
        wait_until(lambda: stat_of(play.pids()["worker-1"])[0] == "T")
        family = family_of(play.process.pid)

        code = play.end(number)

        assert len(family) == 6  # itself, its keeper and what that keeps, and three to break
        assert code == (0 if number in GENTLE else -number)
        wait_until(lambda: not any(map(is_alive, family)))
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


def test_an_address_that_is_taken_is_said(application: Application) -> None:
    """Somebody has forgotten another one, which goes on."""
    with playing(application) as play:
        port = play.client.base_url.port

        other = application.start("--port", str(port), "--no-browser", module=["playground"])

        _, told = other.communicate()
        assert other.returncode == 3
        assert f"cannot listen on 127.0.0.1:{port}" in told
        assert play.process.poll() is None
        assert play.end() == 0
