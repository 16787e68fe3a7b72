"""Nothing is left of a playground, however it ends: no process, not even a stopped one, no file."""

import signal

import pytest

from tests.e2e.playground.playing import family_of, is_alive, playing
from tests.e2e.processes import Application, stat_of, wait_until

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


def test_an_address_that_is_taken_is_said(application: Application) -> None:
    """Somebody has forgotten another one, which goes on."""
    with playing(application) as play:
        port = play.client.base_url.port

        result = application.run("playground", "--port", str(port), "--no-browser")

        assert result.returncode == 3
        assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
        assert play.process.poll() is None
        assert play.end() == 0
