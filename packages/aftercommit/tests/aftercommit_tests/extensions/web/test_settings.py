"""The settings of the HTTP server, what it listens on, and what it lacks."""

import socket

import pytest
from aftercommit import InvalidValue
from aftercommit.extensions.web.settings import WebSettings

from aftercommit_tests.inside.web import open_listener
from aftercommit_tests.things.app import APP


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ALLOWED_HOSTS", ["http://a.example.com", "a.example.com:80", "a/b", "a,b"]),
        ("OPERATOR_TOKEN", ["short", "sixteen characters, ü", "with\nline breaks in it"]),
    ],
)
def test_what_could_never_match_or_be_guessed_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, values: list[str]
) -> None:
    """At start, or every request would be refused later; the token is not repeated."""
    for value in values:
        monkeypatch.setenv(f"THINGS_{name}", value)
        with pytest.raises(InvalidValue, match=f"THINGS_{name}") as raised:
            APP.load({})
        assert name != "OPERATOR_TOKEN" or value not in str(raised.value)


def test_no_answer_waits_for_the_caller_to_confirm_the_begin_of_it() -> None:
    """Head and body are two packets; the kernel would keep the second one for 40 ms."""
    with (
        open_listener(WebSettings(http_port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_may_be_of_version_6() -> None:
    """Where there is such a network."""
    with open_listener(WebSettings(http_host="::1", http_port=0)) as listener:
        assert listener.getsockname()[0] == "::1"
