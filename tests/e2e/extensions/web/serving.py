"""Runs the real HTTP server, and speaks to it: by a client, or byte by byte."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.processes import LIMIT_SECONDS, Application, stop, wait_for_line
from tests.web import OPERATOR, TOKEN

ALONE = ("allocation",)


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


def everything(connection: socket.socket) -> bytes:
    """Return what comes until the other side hangs up, politely or not."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


@contextmanager
def serving(
    application: Application,
    *,
    module: tuple[str, ...] = ALONE,
    token: str = TOKEN,
    port: int = 0,
    **settings: str,
) -> Iterator[Server]:
    """Run a server beside the test, at any port that is free, or at this one."""
    settings = {"operator_token": token, "http_timeout_seconds": "30", **settings}
    with application.running("serve", "--port", f"{port}", module=module, **settings) as process:
        told = wait_for_line(process.stdout, "listening on http://127.0.0.1:")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+); ", told)
        assert found, told
        yield Server(process, int(found[1]), told)


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


def registration(email: str, **more: Any) -> dict[str, Any]:
    return {"name": "Иван", "email": email, **more}
