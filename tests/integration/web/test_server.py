"""The server in one process with the test, as a service beside others. More: `tests/e2e/web`."""

import re
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import httpx
import pytest

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.running import StopSignal, task_group
from allocation.entrypoints.web import server
from allocation.entrypoints.web.exceptions import CannotListen
from allocation.entrypoints.web.server import listening, serving
from allocation.entrypoints.web.settings import WebSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url(
    settings: Settings, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """A server at a port that is free; at the end it is told to stop, and does."""
    of_web = WebSettings(http_port=0, http_seconds=1.0)
    settings = replace(settings, backend=anyio_backend, of_rooms=(of_web,))
    serve, stop, told = serving(settings), StopSignal(), []

    def hear(line: str) -> None:
        told.append(line)
        stop.wake()

    monkeypatch.setattr(server, "say", hear)
    async with bootstrap(settings) as application, task_group() as group:
        group.start_soon(serve, application, stop)
        await stop.sleep(10)
        found = re.search(r"serving (\S+)/docs; the operator's token, until it ends: \S+$", told[0])
        assert found
        yield found[1]
        stop.set()


async def test_requests_are_answered_over_connections_that_stay(url: str) -> None:
    """One after the other, and the first by a caller that hangs up."""
    async with await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2])) as connection:
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost:")
    async with httpx.AsyncClient(base_url=url) as client:
        registration = {"name": "Иван", "email": "ivan@example.com"}
        answers = [await client.post("/users", json=registration) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 409]


async def test_who_says_nothing_is_hung_up_on(url: str) -> None:
    """Also who has said something before."""
    async with await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2])) as connection:
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
        with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await connection.receive()


def test_no_answer_waits_for_the_caller_to_confirm_the_begin_of_it() -> None:
    """Head and body are two packets; the kernel would keep the second one for 40 ms."""
    with listening(WebSettings(http_port=0)) as listener:
        listener.setblocking(True)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_not_ours_is_said() -> None:
    """In words, and as what is not available."""
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:80: "):
        listening(WebSettings(http_host="192.0.2.1", http_port=80))


def test_an_address_of_version_6_is_one() -> None:
    """Where there is such a network."""
    with listening(WebSettings(http_host="::1", http_port=0)) as listener:
        assert listener.getsockname()[0] == "::1"
