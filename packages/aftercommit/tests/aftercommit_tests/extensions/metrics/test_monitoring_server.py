"""The server of metrics and health checks, on a real socket: what it answers, what it endures."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from aftercommit_tests.inside.metrics import MetricsServer, monitoring_server
from aftercommit_tests.inside.settings import MetricsSettings
from aftercommit_tests.things.app import APP

LIMIT_SECONDS = 60


@contextmanager
def serving(error: str | None = None) -> Iterator[int]:
    """Run a server in its threads, and return its port."""
    probes: Any = SimpleNamespace(
        metrics=lambda: b"some_metric 1.0\n",
        liveness_error=lambda: error,
        readiness_error=lambda: error,
    )
    with MetricsServer("127.0.0.1", 0, probes) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS)


def answer(port: int, request: str) -> str:
    """Send a request, and return all that comes until the end."""
    with closing(connected(port)) as client:
        client.sendall(f"{request}\r\nHost: x\r\n\r\n".encode())
        return to_the_end(client)


def to_the_end(client: socket.socket) -> str:
    """Return what comes until the server hangs up, also on what it has not read yet."""
    received = b""
    with suppress(ConnectionError):
        while part := client.recv(65536):
            received += part
    return received.decode()


@pytest.mark.parametrize("line", ["X-Long: " + "x" * 65_000, "\r\n".join(["X: " + "x" * 900] * 30)])
def test_a_long_head_is_refused_and_not_kept(line: str) -> None:
    """A few connections with many long headers would take a gigabyte."""
    with serving() as port:
        assert (
            answer(port, f"GET /metrics HTTP/1.1\r\n{line}")
            .partition("\r\n")[0]
            .endswith("431 Line too long")
        )
        assert "some_metric" in answer(port, "GET /metrics HTTP/1.1\r\n" + "X: y\r\n" * 50 + "Z: z")


@pytest.mark.parametrize(
    ("path", "error", "status", "body"),
    [
        ("/metrics", None, 200, "some_metric 1.0\n"),
        ("/metrics?x=y", None, 200, "some_metric 1.0\n"),
        ("/healthz", None, 200, "alive\n"),
        ("/healthz", "blocked for 12 s", 503, "blocked for 12 s\n"),  # a thread of its own answers
        ("/readyz", None, 200, "ready\n"),
        ("/readyz", "draining", 503, "draining\n"),
        ("/", None, 404, "there are /metrics, /healthz and /readyz\n"),
    ],
)
def test_a_request_is_answered_by_its_path(
    path: str, error: str | None, status: int, body: str
) -> None:
    """As scrapers and probes ask; HEAD is the same without the body."""
    with serving(error) as port:
        got, head = (answer(port, f"{method} {path} HTTP/1.1") for method in ("GET", "HEAD"))

    assert got.partition("\r\n\r\n")[2] == body
    assert head.endswith("\r\n\r\n")
    for text in (got, head):
        assert text.split(" ")[1] == str(status)
        assert f"Content-Length: {len(body)}\r\n" in text


def test_a_newcomer_is_answered_however_many_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that is turned away restarts the process; of the silent ones the oldest goes."""
    monkeypatch.setattr(monitoring_server._Handler, "timeout", 10 * LIMIT_SECONDS)
    with serving() as port:
        silent = [connected(port) for _ in range(3 * monitoring_server.MAX_CONNECTIONS)]

        assert answer(port, "GET /healthz HTTP/1.1").endswith("alive\n")
        assert to_the_end(silent[0]) == ""
        for client in silent:
            client.close()


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a client that sends half a request is free again."""
    assert monitoring_server._Handler.timeout == monitoring_server.SILENCE_SECONDS
    monkeypatch.setattr(monitoring_server._Handler, "timeout", 0.01)
    with serving() as port, closing(connected(port)) as client:
        client.sendall(b"GET /hea")

        assert to_the_end(client) == ""


def test_too_many_open_files_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and not a thousand times a second."""
    monkeypatch.setattr(monitoring_server, "RELISTEN_SECONDS", 0.0)
    accept, failures = ThreadingHTTPServer.get_request, [24] * 3

    def fails_at_first(self: MetricsServer) -> tuple[socket.socket, Any]:
        if failures:
            raise OSError(failures.pop(), "Too many open files")
        return accept(self)

    monkeypatch.setattr(ThreadingHTTPServer, "get_request", fails_at_first)
    with serving() as port:
        assert answer(port, "GET /healthz HTTP/1.1").endswith("alive\n")
    assert failures == []


def test_only_this_machine_may_ask_unless_another_host_is_said() -> None:
    """And nobody without a port. In a container nobody is here, so others have to be let in."""
    nowhere, here = (APP.load(each).of(MetricsSettings) for each in ({}, {"metrics_port": "9464"}))

    assert nowhere.metrics_port is None
    assert (here.metrics_port, here.metrics_host) == (9464, "127.0.0.1")
