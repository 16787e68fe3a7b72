"""What the server listens on. More: its e2e tests."""

import socket

import pytest
from aftercommit.extensions.web.exceptions import CannotListen
from aftercommit.extensions.web.server import open_listener
from aftercommit.extensions.web.settings import WebSettings


def test_no_answer_waits_for_the_caller_to_confirm_the_begin_of_it() -> None:
    """Head and body are two packets; the kernel would keep the second one for 40 ms."""
    with (
        open_listener(WebSettings(http_port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_not_ours_is_said() -> None:
    """In words, and as what is not available."""
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:80: "):
        open_listener(WebSettings(http_host="192.0.2.1", http_port=80))


def test_an_address_of_version_6_is_one() -> None:
    """Where there is such a network."""
    with open_listener(WebSettings(http_host="::1", http_port=0)) as listener:
        assert listener.getsockname()[0] == "::1"
