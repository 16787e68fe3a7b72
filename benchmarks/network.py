"""Measures the cost of a network: each message takes a millisecond to PostgreSQL, and one back.

    python -m benchmarks.network HOST PORT

is that network: our proxy on 127.0.0.1, which prints its port and forwards data, in order, after
the delay. It runs in a separate process, so that its processor time is not measured, and it ends
when nobody has connected for ten minutes.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Thread

from sqlalchemy import make_url

from benchmarks.databases import new_database
from benchmarks.http import Rounds
from benchmarks.measured_application import process
from benchmarks.measuring import Contest, Effort, Way
from benchmarks.registration import on_postgresql

DELAY_SECONDS = 0.001  # in each direction
BUFFER_BYTES = 65536
IDLE_SECONDS = 600


@contextmanager
def far_database() -> Iterator[str]:
    """Make a database on the server for a while, and return its URL behind the proxy."""
    with new_database() as near:
        url = make_url(near)
        host, port = str(url.query.get("host") or url.host), str(url.port or 5432)
        with process("network", host, port, stdout=subprocess.PIPE) as proxy:
            assert proxy.stdout is not None
            far = url.set(host="127.0.0.1", port=int(proxy.stdout.readline()))
            yield far.difference_update_query(["host"]).render_as_string(hide_password=False)


def forward_until_idle(host: str, port: str) -> None:
    """Forward data until nobody has connected for a while."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        listener.settimeout(IDLE_SECONDS)
        with suppress(TimeoutError):
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = _connect(host, port)
                for source, sink in ((client, server), (server, client)):
                    late: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                    Thread(target=_read, args=(source, late), daemon=True).start()
                    Thread(target=_write, args=(sink, late), daemon=True).start()


def _connect(host: str, port: str) -> socket.socket:
    if not host.startswith("/"):
        server = socket.create_connection((host, int(port)))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{host}/.s.PGSQL.{port}")
    return server


def _read(source: socket.socket, late: SimpleQueue[tuple[float, bytes]]) -> None:
    received = b"-"
    while received:
        try:
            received = source.recv(BUFFER_BYTES)
        except OSError:
            received = b""
        late.put((time.perf_counter() + DELAY_SECONDS, received))


def _write(sink: socket.socket, late: SimpleQueue[tuple[float, bytes]]) -> None:
    with sink, suppress(OSError):
        while True:
            due, received = late.get()
            time.sleep(max(0, due - time.perf_counter()))
            if not received:  # the other end has closed
                sink.shutdown(socket.SHUT_RDWR)
                return
            sink.sendall(received)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield those of whole registrations, and one of registrations over HTTP."""
    yield from on_postgresql(effort, far_database)
    requests = effort.pick(200, 2_000)
    ours, by_hand = (
        Rounds(server, far_database, "worker", requests) for server in ("ours", "by_hand")
    )
    yield Contest(
        what="PostgreSQL, POST /users, dispatch: worker",
        unit="requests/s",
        ours=ours.rate,
        ways=[Way(name="FastAPI by hand", once=by_hand.rate)],
        rounds=effort.pick(2, 9),
    )


if __name__ == "__main__":
    forward_until_idle(*sys.argv[1:])
