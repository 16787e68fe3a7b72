"""A worker that is asked how it is, as Kubernetes and Prometheus ask."""

import signal
import socket
from contextlib import closing

import pytest

from aftercommit_tests.processes import PATIENCE, Installation, asked, wait_for_line, wait_until

pytestmark = [pytest.mark.on("asyncio"), pytest.mark.check]

MAKE = ("make-thing", "lamp")


def test_a_worker_says_how_it_is_until_it_has_ended(
    installation: Installation, free_tcp_port: int
) -> None:
    """While it drains, too: then it is alive, and not ready."""
    port, module = free_tcp_port, ("aftercommit_tests.hanging", "wait_deaf")
    installation.settings = {**PATIENCE}
    installation.succeed(*MAKE, module=module, dispatch="worker")
    with installation.running("--metrics-port", str(port), "worker", module=module) as worker:
        wait_for_line(worker.stdout, "hanging")

        assert asked(port, "/healthz") == (200, "alive\n")
        assert asked(port, "/readyz") == (200, "ready\n")
        for line in (
            "things_database_up 1.0",
            'things_deliveries{handler="wait_deaf",state="running"} 1.0',
            'things_attempts_total{handler="announce",outcome="done"} 1.0',
            'things_commit_to_settled_seconds_count{handler="announce"} 1.0',
            'things_oldest_due_seconds{handler="announce"} 0.0',
        ):
            wait_until(lambda: line in asked(port, "/metrics")[1].splitlines())  # noqa: B023

        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: asked(port, "/readyz") == (503, "draining\n"))
        assert asked(port, "/healthz") == (200, "alive\n")

    assert asked(port, "/healthz") == (0, "")


def test_a_worker_that_is_idle_ends_with_its_server(
    installation: Installation, free_tcp_port: int
) -> None:
    """Nobody who asks keeps it."""
    installation.succeed(*MAKE, dispatch="worker")

    done = installation.run("worker", "--until-idle", metrics_port=str(free_tcp_port))

    assert (done.returncode, "metrics are on" in done.stderr) == (0, True)


def test_a_port_that_is_taken_is_named(installation: Installation) -> None:
    """In one line, with the exit code for what is not available."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = str(server.getsockname()[1])

        refused = installation.run("worker", metrics_port=port)

    assert refused.returncode == 3
    assert f"error: metrics cannot be served on 127.0.0.1:{port}: " in refused.stderr
    assert "Traceback" not in refused.stderr
