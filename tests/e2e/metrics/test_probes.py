"""A worker that is asked how it is, as Kubernetes and Prometheus ask."""

import signal
import socket
from contextlib import closing
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.e2e.processes import LIMIT_SECONDS, ROOT, TIMEOUT_SECONDS, Application, wait_until

PAGE = ROOT / "docs" / "rooms.md"
REGISTER = ("register-user", "Иван", "ivan@example.com")


def a_free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def asked(port: int, path: str) -> tuple[int, str]:
    """Return the status and the body; 0 if nobody answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_SECONDS) as response:
            return response.status, response.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except (URLError, ConnectionError):
        return 0, ""


def test_a_worker_tells_how_it_is_until_it_has_ended(application: Application) -> None:
    """While it drains, too: then it is alive, and not ready."""
    port = a_free_port()
    module = ("tests.e2e.hanging", "wait_deaf")
    with application.running(*REGISTER, module=module, dispatch="worker") as registering:
        assert registering.wait(TIMEOUT_SECONDS) == 0
    with application.running(
        "--metrics-port", str(port), "worker", module=module, grace_seconds="1000"
    ) as worker:
        assert worker.stdout is not None
        while "hanging" not in worker.stdout.readline():
            assert worker.poll() is None

        assert asked(port, "/healthz") == (200, "alive\n")
        assert asked(port, "/readyz") == (200, "ready\n")
        status, text = asked(port, "/metrics")
        assert (status, "allocation_database_up 1.0" in text) == (200, True)
        assert 'allocation_deliveries{handler="wait_deaf",state="in_hand"} 1.0' in text

        worker.send_signal(signal.SIGTERM)
        wait_until(lambda: asked(port, "/readyz") == (503, "draining\n"))
        assert asked(port, "/healthz") == (200, "alive\n")

    assert asked(port, "/healthz") == (0, "")


def test_a_worker_tells_what_it_has_done(application: Application) -> None:
    """As the page about rooms shows."""
    shown = PAGE.read_text().partition("/metrics | grep -v '^#'\n")[2].partition("\n…")[0]
    port = a_free_port()
    application.run(*REGISTER, dispatch="worker")

    with application.running("worker", metrics_port=str(port)):
        wait_until(lambda: set(shown.splitlines()) <= set(asked(port, "/metrics")[1].splitlines()))


def test_a_worker_that_is_idle_ends_with_its_server(application: Application) -> None:
    """Nobody who asks keeps it."""
    port = a_free_port()
    application.run(*REGISTER, dispatch="worker")

    done = application.run("worker", "--until-idle", metrics_port=str(port))

    assert (done.returncode, "metrics are on" in done.stderr) == (0, True)


def test_a_port_that_is_taken_is_told(application: Application) -> None:
    """In one line, with the exit code for what is not available."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = str(server.getsockname()[1])

        refused = application.run("worker", metrics_port=port)

    assert refused.returncode == 3
    assert f"error: metrics cannot be answered on 127.0.0.1:{port}: " in refused.stderr
    assert "Traceback" not in refused.stderr
