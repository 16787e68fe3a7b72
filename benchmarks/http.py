"""Measures `POST /users` of a server in a separate process: requests a second, and the slowest.

The peer is an endpoint of FastAPI with the same statements in plain SQL (`http_server.py`).
"""

import re
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import quantiles
from uuid import uuid4

import anyio
from anyio.abc import SocketStream
from sqlalchemy import Engine, NullPool, create_engine, text

from benchmarks.databases import Place, new_database, new_url
from benchmarks.due_jobs import LIMIT_SECONDS, LOOK_SECONDS
from benchmarks.measured_application import WARM_UP, process
from benchmarks.measuring import Contest, Effort, Way

CONNECTIONS = 20
# scheduled deliveries have not been attempted
OWED = text(
    "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL AND attempts > 0"
)


class Rounds:
    """Rounds of requests, over connections that stay open, each with a new database."""

    def __init__(self, server: str, place: Place, dispatch: str, requests: int) -> None:
        self._server, self._place, self._dispatch = server, place, dispatch
        self._requests = requests
        self._slowest: list[float] = []

    def rate(self) -> float:
        """Measure requests a second, including what follows, unless it is left to workers."""
        port, how = _free_port(), (self._server, self._dispatch)
        with self._place() as url, process("http_server", url, *how, str(port)):
            engine = create_engine(url.replace("+aiosqlite", ""), poolclass=NullPool)
            owed = partial(_owed, engine) if self._dispatch == "inline" else lambda: 0
            seconds, latencies = anyio.run(_load, port, self._requests, owed)
        self._slowest.append(quantiles(latencies, n=100)[-1] * 1000)
        return self._requests / seconds

    def slowest(self) -> float:
        """Return the milliseconds that 99 of 100 requests did not exceed, round by round."""
        return self._slowest.pop(0)


async def _load(port: int, requests: int, owed: Callable[[], int]) -> tuple[float, list[float]]:
    with anyio.fail_after(LIMIT_SECONDS):
        await _until_it_listens(port)
        await _send(port, WARM_UP)
        await _until_none(owed)
        started = time.perf_counter()
        latencies = await _send(port, requests)
        await _until_none(owed)
        return time.perf_counter() - started, latencies


async def _until_it_listens(port: int) -> None:
    while True:
        try:
            await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
        except OSError:
            await anyio.sleep(LOOK_SECONDS)
        else:
            return


async def _until_none(owed: Callable[[], int]) -> None:
    while owed():  # noqa: ASYNC110 - another process does it
        await anyio.sleep(LOOK_SECONDS)


async def _send(port: int, requests: int) -> list[float]:
    latencies: list[float] = []
    left = iter(range(requests))

    async def send() -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as connection:
            for _ in left:
                started = time.perf_counter()
                await _register(connection)
                latencies.append(time.perf_counter() - started)

    async with anyio.create_task_group() as group:
        for _ in range(CONNECTIONS):
            group.start_soon(send)
    return latencies


async def _register(connection: SocketStream) -> None:
    """Register a user, by writing bytes, because HTTP clients take as long as a server."""
    body = f'{{"name": "Иван", "email": "{uuid4()}@example.com"}}'.encode()
    head = f"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    await connection.send(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    received = b""
    while not _is_whole(received):
        received += await connection.receive()
    assert received.startswith(b"HTTP/1.1 201"), received


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(length) and len(body) >= int(length[1] if length else 0)


def _owed(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(OWED) or 0)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


PLACES: dict[str, Place] = {"SQLite": partial(new_url, "aiosqlite"), "PostgreSQL": new_database}


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield two contests, from the same rounds, for each database and way of dispatch."""
    requests = effort.pick(600, 2_000)
    contest = partial(Contest, rounds=effort.pick(3, 9))  # servers take long to start
    for name, place in PLACES.items():
        for dispatch in ("worker", "inline"):
            ours = Rounds("ours", place, dispatch, requests)
            by_hand = Rounds("by_hand", place, dispatch, requests)
            way = partial(Way, name="FastAPI by hand")
            what = f"{name}, dispatch: {dispatch}"
            ways = [way(once=by_hand.rate)]
            yield contest(what=what, unit="requests/s", ours=ours.rate, ways=ways)
            ways = [way(once=by_hand.slowest)]
            yield contest(what=f"{what}, p99", unit="ms", ours=ours.slowest, ways=ways)
