"""The small HTTP server, on a real socket: what it answers, and what it endures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from allocation.entrypoints.metrics import http
from allocation.entrypoints.metrics.http import HttpServer, Response

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 60


async def answer(path: str) -> Response:
    if path == "/broken":
        raise OSError("no idea")
    return Response("200 OK", f"this is {path}\n".encode())


@asynccontextmanager
async def serving(*, seconds: float = LIMIT_SECONDS) -> AsyncIterator[int]:
    """Run a server, and return its port."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(HttpServer(answer, seconds=seconds).serve, listener)
        yield int(listener.extra(SocketAttribute.local_port))
        group.cancel_scope.cancel()


async def exchanged(port: int, request: bytes) -> str:
    """Send a request, and return all that comes until the end."""
    with anyio.fail_after(LIMIT_SECONDS):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(request)
            return await to_the_end(stream)


async def to_the_end(stream: SocketStream) -> str:
    received = b""
    try:
        while True:
            received += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return received.decode()


async def test_a_request_is_answered_by_its_path() -> None:
    """What follows the question mark is for others."""
    async with serving() as port:
        response = await exchanged(port, b"GET /x?y=z HTTP/1.1\r\nHost: x\r\n\r\n")

    assert response == (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\n"
        "Connection: close\r\n\r\nthis is /x\n"
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /x HTTP/1.0\r\n\r\n", "200 OK"),
        (b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        (b"GET /broken HTTP/1.1\r\n\r\n", "500 Internal Server Error"),
        (b"GET /x\r\n\r\n", "400 Bad Request"),
        (b"\x16\x03\x01\x02\r\n\r\n", "400 Bad Request"),
        (b"GET /" + b"x" * 20_000, "431 Request Header Fields Too Large"),
    ],
)
async def test_whatever_comes_has_an_answer(request_: bytes, status: str) -> None:
    """In HTTP's own words."""
    async with serving() as port:
        response = await exchanged(port, request_)

    assert response.startswith(f"HTTP/1.1 {status}\r\n")


async def test_a_head_has_no_body() -> None:
    """But it says how long that is."""
    async with serving() as port:
        response = await exchanged(port, b"HEAD /x HTTP/1.1\r\n\r\n")

    assert response.endswith("\r\n\r\n")
    assert "Content-Length: 11\r\n" in response


async def test_who_says_nothing_is_hung_up_on() -> None:
    """And so is who hangs up, or does not."""
    async with serving(seconds=0.05) as port:
        assert await exchanged(port, b"GET /slow") == ""
        assert "200 OK" in await exchanged(port, b"GET /x HTTP/1.1\r\n\r\n")


async def test_who_hangs_up_first_disturbs_nobody() -> None:
    """Scanners do."""
    async with serving() as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET /")

        assert "200 OK" in await exchanged(port, b"GET /x HTTP/1.1\r\n\r\n")


async def test_too_many_at_once_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would cost memory and files that the work needs."""
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 1)

    async with serving() as port, await anyio.connect_tcp("127.0.0.1", port) as first:
        await first.send(b"GET /x HTTP/1.1\r\n")
        await anyio.wait_all_tasks_blocked()
        assert await exchanged(port, b"GET /x HTTP/1.1\r\n\r\n") == ""
        await first.send(b"\r\n")
        assert "200 OK" in await to_the_end(first)


async def test_a_listener_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, for a moment: that may not end the work beside it."""
    monkeypatch.setattr(http, "RELISTEN_SECONDS", 0.0)
    tried = anyio.Event()

    class Failing:
        times = 0

        async def serve(self, handler: object) -> None:
            self.times += 1
            if self.times == 3:
                tried.set()
                await anyio.sleep_forever()
            raise OSError(24, "Too many open files")

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(HttpServer(answer).serve, Failing())  # type: ignore[arg-type]
            await tried.wait()
            group.cancel_scope.cancel()
