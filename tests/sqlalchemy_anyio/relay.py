"""A relay to a PostgreSQL server that can freeze: nothing arrives any more, and nothing breaks."""

import socket
import threading
from contextlib import closing, suppress

import psycopg

BUFFER_BYTES = 65536


class Relay:
    """Forwards what comes to a port of localhost, until it is frozen."""

    def __init__(self, server: str) -> None:
        with closing(psycopg.connect(server)) as connection:
            self._server = (connection.info.host, connection.info.port)
        self._is_flowing = threading.Event()
        self._is_flowing.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Let nothing through, as a server that is stopped or a network that is gone would."""
        self._is_flowing.clear()

    def close(self) -> None:
        """Let all through again, and break every connection."""
        self._is_flowing.set()
        for each in (self._listener, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += (client, server)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection(self._server)
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(BUFFER_BYTES):
                self._is_flowing.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
