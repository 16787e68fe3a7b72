"""Runs the real HTTP server, and speaks to it: by a client, or byte by byte."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from aftercommit_tests.extensions.web.running import OPERATOR, TOKEN
from aftercommit_tests.processes import LIMIT_SECONDS, Installation, stop, wait_for_line


class Runs(Protocol):
    """An installation, of things or of another application."""

    @property
    def running(self) -> Callable[..., Any]: ...


@dataclass
class Server:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    port: int
    told: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token that it has told, alone or in the address of a page."""
        return self.told.split()[-1].rpartition("=")[2]

    def client(self) -> httpx.Client:
        """Return a client, which keeps its connections, and may do all."""
        return httpx.Client(base_url=self.url, headers=OPERATOR, timeout=LIMIT_SECONDS)

    def make_thing(self, name: str = "lamp", key: str | None = None) -> httpx.Response:
        """Make a thing, as anybody may, under a key if there is one."""
        headers = {"Idempotency-Key": key} if key else {}
        return httpx.post(
            f"{self.url}/things", json={"name": name}, headers=headers, timeout=LIMIT_SECONDS
        )

    def connect(self) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), LIMIT_SECONDS)

    def answer_to(self, *pieces: bytes) -> bytes:
        """Send bytes, and return what comes until the server hangs up."""
        with self.connect() as connection:
            with suppress(ConnectionError):  # it may refuse what it has seen the begin of
                for piece in pieces:
                    connection.sendall(piece)
            return everything(connection)

    def memory(self) -> int:
        """Return the bytes of memory that are its own."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(kib) * 1024 for kib in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.M))

    def stop(self) -> int:
        """Stop it, and return how it ends."""
        return stop(self.process)

    def log(self) -> str:
        """Stop it, in good order, and return what it has logged."""
        assert self.stop() == 0
        return self.process.communicate()[1]


def everything(connection: socket.socket) -> bytes:
    """Return what comes until the other side hangs up, politely or not."""
    received = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


@contextmanager
def serving(
    installation: Runs,
    *,
    module: tuple[str, ...] | None = None,
    token: str = TOKEN,
    port: int = 0,
    **settings: str,
) -> Iterator[Server]:
    """Run a server beside the test, at any port that is free, or at this one."""
    settings = {"operator_token": token, "http_timeout_seconds": "30", **settings}
    with installation.running("serve", "--port", f"{port}", module=module, **settings) as process:
        told = wait_for_line(process.stdout, "listening on http://127.0.0.1:")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+); ", told)
        assert found, told
        yield Server(process, int(found[1]), told)


@contextmanager
def locked(installation: Installation) -> Iterator[Callable[[], None]]:
    """Keep others from writing until what is yielded is called."""
    with installation.connected() as connection:
        is_postgres = bool(installation.postgres_url)
        connection.execute("LOCK TABLE aftercommit_commands" if is_postgres else "BEGIN IMMEDIATE")
        yield connection.rollback


def post(path: str, body: bytes = b"{}", *headers: bytes, length: int | None = None) -> bytes:
    """Return the bytes of a request."""
    size = len(body) if length is None else length
    lines = (
        b"POST %s HTTP/1.1" % path.encode(),
        b"Host: localhost",
        b"Content-Type: application/json",
        b"Content-Length: %d" % size,
        *headers,
    )
    return b"\r\n".join([*lines, b"", body])
