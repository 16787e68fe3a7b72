"""Stopping the real server: nobody is cut off, and nothing holds it up for long."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from tests.e2e.processes import LIMIT_SECONDS, Application, wait_until
from tests.e2e.web.serving import post, registration, serving

HANGING = ("tests.e2e.hanging", "wait")


@contextmanager
def locked(application: Application) -> Iterator[Callable[[], None]]:
    """Keep others from writing until what is yielded is called."""
    with application.connected() as connection:
        is_postgres = bool(application.postgres_url)
        connection.execute("LOCK TABLE commands" if is_postgres else "BEGIN IMMEDIATE")
        yield connection.rollback


def until_told(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stderr is not None
    while words not in process.stderr.readline():
        assert process.poll() is None


def test_open_connections_do_not_hold_it_up(on_each: Application) -> None:
    """Neither one that is idle, nor one that has sent nothing, or half of a head."""
    with serving(on_each) as server, server.client() as idle:
        assert idle.get("/healthz").status_code == 200
        with server.connect(), server.connect() as slow:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
            begin = time.monotonic()
            assert server.stop() == 0

    assert time.monotonic() - begin < 8  # its grace period would be 10


def test_a_request_that_has_begun_is_answered(on_each: Application) -> None:
    """Meanwhile nobody can begin another."""
    with serving(on_each) as server, locked(on_each) as unlock, ThreadPoolExecutor(1) as pool:
        body = registration("ivan@example.com")
        answer = pool.submit(httpx.post, f"{server.url}/users", json=body, timeout=LIMIT_SECONDS)
        with server.connect() as connection:  # the request before this one has been taken
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(1)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        until_told(server.process, "stopping")
        wait_until(lambda: refused(server.port))
        unlock()

        assert answer.result().status_code == 201
        assert server.process.wait(LIMIT_SECONDS) == 0


def refused(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/healthz")
    except httpx.TransportError:
        return True
    return False


def test_what_cannot_be_done_in_time_goes_back_to_workers(on_each: Application) -> None:
    """The attempt does not count."""
    with serving(on_each, module=HANGING, grace_seconds="0.2") as server:
        response = httpx.post(f"{server.url}/users", json=registration("ivan@example.com"))
        assert response.status_code == 201
        assert server.process.stdout is not None
        while "hanging" not in server.process.stdout.readline():
            assert server.process.poll() is None
        assert server.stop() == 0

    statement = "SELECT attempts, process FROM deliveries WHERE handler = 'wait'"
    assert on_each.rows(statement) == [(0, None)]


def test_half_a_body_ends_with_the_grace_period(on_each: Application) -> None:
    """No request may keep a process for ever."""
    with serving(on_each, grace_seconds="0.5") as server, server.connect() as connection:
        connection.sendall(post("/users", b"{", length=100))
        time.sleep(0.2)
        begin = time.monotonic()
        assert server.stop() == 0

    assert time.monotonic() - begin < 5


def test_who_takes_no_answer_holds_nobody_up(on_each: Application) -> None:
    """The kernel gives up on them: a server waits for ever, even at its end.

    On Trio it needs its grace period for one that has asked for more meanwhile.
    """
    asking = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: test\r\n\r\n" * 20
    grace = "1000" if on_each.backend == "asyncio" else "2"
    with (
        serving(on_each, http_seconds="1", grace_seconds=grace) as server,
        server.connect() as connection,
    ):
        connection.sendall(asking)
        assert connection.recv(1)
        assert server.stop() == 0


def test_a_second_signal_ends_it_at_once(on_each: Application) -> None:
    """Whoever insists does not have to wait."""
    with serving(on_each, module=HANGING, grace_seconds="1000") as server:
        httpx.post(f"{server.url}/users", json=registration("ivan@example.com"))
        server.process.send_signal(signal.SIGTERM)

        def ended_by_another_signal() -> bool:
            server.process.send_signal(signal.SIGTERM)
            return server.process.poll() is not None

        wait_until(ended_by_another_signal)
        assert server.process.returncode == 128 + signal.SIGTERM
