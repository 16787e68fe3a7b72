"""The settings of the HTTP server."""

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.web.settings import WebSettings

from allocation.config import load


def of_web(**variables: str) -> WebSettings:
    return load({}, {f"ALLOCATION_{name}": value for name, value in variables.items()}).of(
        WebSettings
    )


def test_hosts_and_origins_are_told_apart_by_spaces() -> None:
    """As URLs of brokers are."""
    assert of_web(ALLOWED_HOSTS="a.example.com  B.example.com").hosts == {
        "a.example.com",
        "b.example.com",
    }
    assert of_web(HTTP_HOST="0.0.0.0").hosts == set()
    assert of_web(ALLOWED_ORIGINS="https://a.example  https://b.example").origins == [
        "https://a.example",
        "https://b.example",
    ]


@pytest.mark.parametrize("hosts", ["http://a.example.com", "a.example.com:80", "a/b", "a,b"])
def test_what_no_request_could_match_is_refused(hosts: str) -> None:
    """Or every request would be refused later, and nobody would know why."""
    with pytest.raises(InvalidValue, match="ALLOCATION_ALLOWED_HOSTS"):
        of_web(ALLOWED_HOSTS=hosts)


def test_a_token_that_could_be_guessed_or_sent_in_no_header_is_refused() -> None:
    """It is all that keeps others out, so it has to be long; the value is not repeated."""
    for token in ("short", "sixteen characters, ü", "with\nline breaks in it"):
        with pytest.raises(InvalidValue, match="ALLOCATION_OPERATOR_TOKEN") as raised:
            of_web(OPERATOR_TOKEN=token)
        assert token not in str(raised.value)


def test_the_variable_that_kubernetes_sets_is_not_read() -> None:
    """For a service called allocation it is a URL."""
    assert of_web(PORT="tcp://10.0.0.1:80").http_port == 8000
