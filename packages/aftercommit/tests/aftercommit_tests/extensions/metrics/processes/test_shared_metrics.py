"""Metrics of an application with several processes: whichever is asked, they say the same."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aftercommit_tests.extensions.metrics.samples import samples
from aftercommit_tests.processes import LIMIT_SECONDS, a_free_port, asked, wait_until
from aftercommit_tests.warm import SOURCES

pytestmark = [pytest.mark.on("sqlite"), pytest.mark.check]

APPLICATION = "aftercommit_tests.extensions.page.processes.shop_with_page:app"
SCRAPER = {"Authorization": "Bearer t0ken"}
ORDERS = 12


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The application in four processes, which share an address and a directory."""
    (shared := tmp_path / "counters").mkdir()
    command = (sys.executable, "-m", "uvicorn", APPLICATION, "--workers=4", "--log-level=warning")
    environment = {
        "PYTHONPATH": SOURCES,
        "SHOP_ENGINE": f"sqlite+aiosqlite:///{tmp_path}/shop.db?timeout={LIMIT_SECONDS}",
        "SCRAPER_TOKEN": "t0ken",
        "PROMETHEUS_MULTIPROC_DIR": str(shared),
        "PATH": "/usr/bin",
    }
    port = a_free_port()
    with subprocess.Popen([*command, f"--port={port}"], cwd=tmp_path, env=environment) as server:
        try:
            wait_until(lambda: asked(port, "/process")[0] == 200 or server.poll() is not None)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(LIMIT_SECONDS)


def counted_by(url: str) -> tuple[int, tuple[float, float]]:
    """Return which process answers, and how many attempts it says were done and parked."""
    with httpx.Client(base_url=url, timeout=LIMIT_SECONDS) as client:  # over one connection
        process = client.get("/process").json()
        answer = client.get("/metrics", headers=SCRAPER)
    assert answer.status_code == 200, answer.text
    found, name = samples(answer.content), "shop_attempts_total"
    done, parked = found[name, "reserve", "done"], found[name, "print_label", "parked"]
    return process, (done, parked)


def told_by_several(url: str) -> dict[int, tuple[float, float]]:
    """Ask until two processes have answered; return what each has told last."""
    told: dict[int, tuple[float, float]] = {}

    def are_two() -> bool:
        told.update([counted_by(url)])
        return len(told) > 1

    wait_until(are_two)
    return told


def test_each_process_tells_what_all_of_them_have_counted(url: str) -> None:
    """Also when one of them was killed: a counter that falls would be taken for a restart."""
    for number in range(ORDERS):
        assert httpx.post(f"{url}/orders/{number}", timeout=LIMIT_SECONDS).is_success
    everything = {(ORDERS, ORDERS)}

    wait_until(lambda: {*told_by_several(url).values()} == everything)
    killed, *_ = told_by_several(url)
    os.kill(killed, signal.SIGKILL)
    after = told_by_several(url)
    wait_until(lambda: killed not in told_by_several(url))

    assert {*after.values()} == everything
    assert {*told_by_several(url).values()} == everything
    assert httpx.get(f"{url}/metrics", timeout=LIMIT_SECONDS).status_code == 401
