"""Mail servers that misbehave, on real sockets, in threads that end with the test."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from traceback import walk_stack

GOOD = {
    "banner": "220 ready",
    "EHLO": "250 localhost",
    "HELO": "250 localhost",
    "STARTTLS": "220 go on",
    "AUTH": "235 welcome",
    "MAIL": "250 OK",
    "RCPT": "250 OK",
    "DATA": "354 go on",
    ".": "250 taken",
    "RSET": "250 OK",
    "QUIT": "221 bye",
}

Behaviour = Callable[["HostileServer", socket.socket], None]


@dataclass
class HostileServer:
    """What came to a server that misbehaves."""

    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    connections: int = 0
    open: int = 0
    taken: int = 0
    is_stuck: bool = False  # where it never goes on

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def drip(self, client: socket.socket, what: bytes, *, every: float) -> None:
        """Send a byte now and then, forever."""
        self.is_stuck = True
        for number in cycle(what):
            if self.over.wait(every):
                return
            client.sendall(bytes([number]))


def silent(server: HostileServer, client: socket.socket) -> None:
    """Say nothing."""
    server.is_stuck = True
    while client.recv(1000):
        pass


def endless(server: HostileServer, client: socket.socket) -> None:
    """Greet line after line."""
    server.is_stuck = True
    while not server.over.wait(0.01):
        client.sendall(b"220-please wait\r\n")


def flooding(server: HostileServer, client: socket.socket) -> None:
    """Greet line after line, as fast as somebody reads, up to 50 MB."""
    for _ in range(3000):
        client.sendall(b"220-please wait\r\n" * 1000)


def dripping_tls(server: HostileServer, client: socket.socket) -> None:
    """Begin a record of a TLS handshake, and go on with it slowly."""
    client.sendall(b"\x16\x03\x03\x40\x00")
    server.drip(client, b"\x02\x00", every=0.02)


def hanging_up(server: HostileServer, client: socket.socket) -> None:
    """Hang up at once."""


def scripted(*, stuck_at: str = "", **replies: str) -> Behaviour:
    """Return a server that answers as it should but for these replies, and drips forever at one.

    An empty reply hangs up; `end` is the one to the e-mail itself.
    """
    answers = GOOD | {"." if name == "end" else name: reply for name, reply in replies.items()}

    def behave(server: HostileServer, client: socket.socket) -> None:
        command = "banner"
        with client.makefile("rb") as lines:
            while answers[command]:
                if command == stuck_at:  # never with a 250 in it, which would be an acceptance
                    server.drip(client, b"451-x\r\n", every=0.02)
                server.taken += command == "." and answers["."].startswith("2")
                client.sendall(f"{answers[command]}\r\n".encode())
                if command == "QUIT":
                    return
                if command == "DATA" and answers["DATA"].startswith("3"):
                    while lines.readline() not in (b".\r\n", b""):
                        pass
                    command = "."
                else:
                    command = lines.readline().decode().upper().split(maxsplit=1)[0].strip()

    return behave


@contextmanager
def misbehaving(behave: Behaviour) -> Iterator[HostileServer]:
    """Run a server for the time of the context."""
    server = HostileServer()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        accepting = threading.Thread(target=_accept, args=(server, listener, behave))
        accepting.start()
        try:
            yield server
        finally:
            server.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(server: HostileServer, listener: socket.socket, behave: Behaviour) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            server.connections += 1
            threading.Thread(target=_serve, args=(server, client, behave), daemon=True).start()


def _serve(server: HostileServer, client: socket.socket, behave: Behaviour) -> None:
    server.open += 1
    with client, suppress(OSError, IndexError):
        behave(server, client)
    server.open -= 1


@contextmanager
def unreachable() -> Iterator[int]:
    """Yield a port whose connections are never accepted: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        try:
            yield address[1]
        finally:
            for each in waiting:
                each.close()


def threads_in(module: str) -> int:
    """Return how many threads are inside this module."""
    return sum(
        any(frame.f_code.co_filename.endswith(module) for frame, _ in walk_stack(top))
        for top in sys._current_frames().values()
    )
