"""A TCP proxy that can be cut, so that a test can take a server away without ending it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from sqlalchemy import make_url

BUFFER_BYTES = 65536
BACKLOG = 100

Target = tuple[str, int] | str  # host and port, or the path of a socket


class Proxy:
    """Forwards to a server; or refuses connections; or accepts them and does not answer."""

    def __init__(self, host: str, port: int, target: Target) -> None:
        self._address = (host, port)
        self._target = target
        self._mode: Literal["forward", "hang"] = "forward"
        self._frozen = threading.Event()
        self.asked_in_vain = threading.Event()
        self.freezes_at: bytes | None = None  # what the client may not send
        self.cuts_after: bytes | None = None  # what the server is told, and nobody hears its answer
        self.accepted = 0  # connections
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None  # kept while it is cut
        self._is_open = False
        self._changing = threading.Lock()  # what has just been accepted is cut with the others

    def open(self) -> None:
        """Let the server be there (again)."""
        self._mode = "forward"
        if self._is_open:
            return
        if self._listener is None:
            self._listener = socket.create_server(self._address, backlog=BACKLOG)
        else:
            self._listener.listen(BACKLOG)
        self._is_open = True
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones.

        The port stays ours meanwhile. Otherwise a connection of anybody on this machine might get
        it as its own end, even one that looks for the server: then it could not be opened again.
        """
        with self._changing:
            was_open, self._is_open = self._is_open, False
        if was_open and self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)  # it listens no longer, and is still bound
        self._break_all()

    def close(self) -> None:
        """Be cut, and leave the port to others."""
        self.cut()
        if self._listener:
            self._listener.close()

    def hang(self) -> None:
        """Break every connection, and answer nothing on new ones."""
        self.open()
        self._mode = "hang"
        self._break_all()

    def freeze(self) -> None:
        """Say nothing more on any connection, old or new, but break none, as if its host had gone.

        Those that are frozen stay so, also when the proxy is open again.
        """
        with self._changing:
            self._mode = "hang"
            self._frozen.set()
            self._frozen = threading.Event()

    def _break_all(self) -> None:
        with self._changing:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._changing:
                if not self._is_open:
                    client.close()
                    return
                self.accepted += 1
                self._sockets.append(client)
                forwards, frozen = self._mode == "forward", self._frozen
            if forwards:
                self._connect(client, frozen)

    def _connect(self, client: socket.socket, frozen: threading.Event) -> None:
        try:
            server = _connect(self._target)
        except OSError:
            client.close()
            return
        with self._changing:
            if client not in self._sockets:  # it was broken meanwhile
                server.close()
                return
            self._sockets.append(server)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._forward, args=[source, sink, frozen], daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, frozen: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(BUFFER_BYTES):
                if self.freezes_at and self.freezes_at in data:
                    self.freeze()
                if frozen.is_set():
                    self.asked_in_vain.set()
                    return
                if self.cuts_after and self.cuts_after in data:
                    self.freeze()
                    sink.sendall(data)
                    self.cut()
                    return
                sink.sendall(data)
        if frozen.is_set():
            return
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _connect(target: Target) -> socket.socket:
    if isinstance(target, tuple):
        return socket.create_connection(target)
    server = socket.socket(socket.AF_UNIX)
    server.connect(target)
    return server


@contextmanager
def proxy_to(target: Target, *, port: int) -> Iterator[Proxy]:
    """Open a proxy on this port of localhost for the time of the context."""
    proxy = Proxy("127.0.0.1", port, target)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def postgres_behind_a_proxy(url: str, *, port: int) -> Iterator[tuple[str, Proxy]]:
    """Open a proxy to this database, for the time of the context, and return its URL, too."""
    parsed = make_url(url)
    socket_folder = parsed.query.get("host")
    server_port = parsed.port or 5432
    target: Target = (parsed.host or "127.0.0.1", server_port)
    if isinstance(socket_folder, str) and socket_folder.startswith("/"):
        target = f"{socket_folder}/.s.PGSQL.{server_port}"
    proxied = parsed.set(host="127.0.0.1", port=port).difference_update_query(["host"])
    with proxy_to(target, port=port) as proxy:
        yield proxied.render_as_string(hide_password=False), proxy
