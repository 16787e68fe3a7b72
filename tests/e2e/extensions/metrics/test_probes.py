"""A worker that is asked how it is, as Kubernetes and Prometheus ask."""

import signal
import socket
from contextlib import closing

from tests.e2e.processes import ROOT, TIMEOUT_SECONDS, Application, asked, wait_for_line, wait_until

REGISTER = ("register-user", "Иван", "ivan@example.com")


def test_a_worker_tells_how_it_is_until_it_has_ended(
    application: Application, free_tcp_port: int
) -> None:
    """While it drains, too: then it is alive, and not ready."""
    port = free_tcp_port
    module = ("tests.e2e.hanging", "wait_deaf")
    with application.running(*REGISTER, module=module, dispatch="worker") as registering:
        assert registering.wait(TIMEOUT_SECONDS) == 0
    with application.running(
        "--metrics-port", str(port), "worker", module=module, shutdown_grace_seconds="1000"
    ) as worker:
        wait_for_line(worker.stdout, "hanging")

        assert asked(port, "/healthz") == (200, "alive\n")
        assert asked(port, "/readyz") == (200, "ready\n")
        status, text = asked(port, "/metrics")
        assert (status, "allocation_database_up 1.0" in text) == (200, True)
        running = 'allocation_deliveries{handler="wait_deaf",state="running"} 1.0'
        wait_until(lambda: running in asked(port, "/metrics")[1])

        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: asked(port, "/readyz") == (503, "draining\n"))
        assert asked(port, "/healthz") == (200, "alive\n")

    assert asked(port, "/healthz") == (0, "")


def test_a_worker_tells_what_it_has_done(application: Application, free_tcp_port: int) -> None:
    """As the page about extensions shows."""
    page = (ROOT / "docs" / "extensions.md").read_text()
    shown = page.partition("/metrics | grep -v '^#'\n")[2].partition("\n…")[0]
    application.run(*REGISTER, dispatch="worker")

    with application.running("worker", metrics_port=str(free_tcp_port)):
        wait_until(
            lambda: set(shown.splitlines()) <= set(asked(free_tcp_port, "/metrics")[1].splitlines())
        )


def test_a_worker_that_is_idle_ends_with_its_server(
    application: Application, free_tcp_port: int
) -> None:
    """Nobody who asks keeps it."""
    application.run(*REGISTER, dispatch="worker")

    done = application.run("worker", "--until-idle", metrics_port=str(free_tcp_port))

    assert (done.returncode, "metrics are on" in done.stderr) == (0, True)


def test_a_port_that_is_taken_is_told(application: Application) -> None:
    """In one line, with the exit code for what is not available."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = str(server.getsockname()[1])

        refused = application.run("worker", metrics_port=port)

    assert refused.returncode == 3
    assert f"error: metrics cannot be answered on 127.0.0.1:{port}: " in refused.stderr
    assert "Traceback" not in refused.stderr
