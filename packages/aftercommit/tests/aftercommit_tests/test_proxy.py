"""The proxy by which tests take a server away."""

import socket

import pytest
from anyio.pytest_plugin import FreePortFactory

from aftercommit_tests.proxy import proxy_to


def test_nobody_gets_the_port_of_a_server_that_is_away(
    free_tcp_port_factory: FreePortFactory,
) -> None:
    """A connection that anybody opens meanwhile would have it, and keep the server out."""
    port, real = free_tcp_port_factory(), free_tcp_port_factory()
    with (
        socket.create_server(("127.0.0.1", real)) as server,
        proxy_to(("127.0.0.1", real), port=port) as proxy,
    ):
        for _ in range(2):
            proxy.cut()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            proxy.open()
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"hello")
                accepted, _ = server.accept()
                with accepted:
                    assert accepted.recv(5) == b"hello"
