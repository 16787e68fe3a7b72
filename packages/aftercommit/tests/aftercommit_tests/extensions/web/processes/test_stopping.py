"""Stopping the real server: nobody is cut off, and nothing holds it up for long."""

import signal
import socket

import httpx
import pytest

from aftercommit_tests.extensions.web.processes.serving import everything, locked, post, serving
from aftercommit_tests.processes import (
    LIMIT_SECONDS,
    PATIENCE,
    Installation,
    wait_for_line,
    wait_until,
)

pytestmark = [pytest.mark.on("postgres"), pytest.mark.check]

HANGING = ("aftercommit_tests.hanging", "wait")


def test_a_connection_that_is_idle_ends(on_each: Installation) -> None:
    """After a while, though nobody stops the server."""
    with serving(on_each, http_timeout_seconds="1") as server:
        answer = server.answer_to(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


def test_open_connections_do_not_hold_it_up(on_each: Installation) -> None:
    """Neither one that is idle, nor one that has sent nothing, or half of a head."""
    with serving(on_each, shutdown_grace_seconds="1000") as server, server.client() as idle:
        assert idle.get("/healthz").status_code == 200
        with server.connect(), server.connect() as slow:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
            assert server.stop() == 0


def begin(connection: socket.socket, *, length: int) -> None:
    """Send the head of a request, and wait until the server asks for its body."""
    connection.sendall(post("/things", b"", b"Expect: 100-continue", length=length))
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")


@pytest.mark.on("sqlite")
def test_a_request_that_has_begun_is_answered(on_each: Installation) -> None:
    """Meanwhile nobody can begin another."""
    body = b'{"name": "lamp"}'
    on_each.settings |= PATIENCE
    with serving(on_each) as server, locked(on_each) as unlock, server.connect() as connection:
        begin(connection, length=len(body))
        connection.sendall(body)
        server.process.send_signal(signal.SIGTERM)
        wait_for_line(server.process.stderr, "stopping")
        wait_until(lambda: refused(server.port))
        unlock()

        assert b" 201 " in everything(connection).splitlines()[0]
        assert server.process.wait(LIMIT_SECONDS) == 0


def refused(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    except httpx.TransportError:
        return True
    return False


def test_what_cannot_be_done_in_time_goes_back_to_workers(on_each: Installation) -> None:
    """The attempt does not count."""
    with serving(on_each, module=HANGING, shutdown_grace_seconds="0.2") as server:
        assert server.make_thing().status_code == 201
        wait_for_line(server.process.stdout, "hanging")
        assert server.stop() == 0

    statement = "SELECT attempts, owner FROM aftercommit_deliveries WHERE handler = 'wait'"
    assert on_each.rows(statement) == [(0, None)]


def test_who_never_ends_is_left_when_the_grace_period_is_over(on_each: Installation) -> None:
    """Neither half of a body nor an answer that nobody takes may keep a process forever."""
    asking = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20
    with (
        serving(on_each, shutdown_grace_seconds="0.5") as server,
        server.connect() as half,
        server.connect() as deaf,
    ):
        begin(half, length=100)
        half.sendall(b"{")
        deaf.sendall(asking)
        assert deaf.recv(1)
        assert server.stop() == 0
