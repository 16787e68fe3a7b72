"""What a caller is told of an error: always a problem (RFC 9457), never an internal."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aftercommit.errors import ConcurrentUpdate, Unavailable, UnexpectedAnswer
from aftercommit.extensions.web.problems import status_of
from aftercommit.sql.exceptions import DatabaseUnavailable

from tests.integration.extensions.web.conftest import Web
from tests.web import OPERATOR

pytestmark = pytest.mark.anyio

INVALID = "urn:problem-type:allocation:invalid-value"


@pytest.mark.parametrize(
    ("request_", "status", "type_"),
    [
        (("POST", "/users", b'{"name": "I"'), 400, "not-json"),
        (("POST", "/users", b"\xff"), 400, "not-json"),
        (("POST", "/users", b"[" * 60_000), 400, "not-json"),
        (("POST", "/users", b'{"name": "I", "email": "i"}'), 422, "invalid-value"),
        (("POST", "/users", b'{"name": "I"}'), 422, "invalid-request"),
        (("POST", "/users", b"[]"), 422, "invalid-request"),
        (("POST", "/users", b""), 422, "invalid-request"),
        (("GET", "/users?limit=0", b""), 422, "invalid-request"),
        (("GET", "/users?email=nobody", b""), 422, "invalid-value"),
        (("GET", "/users/7", b""), 422, "invalid-request"),
        (("POST", "/coupon-batches", b'{"reference": "-", "quantity": 1}'), 422, "invalid-value"),
        (
            ("POST", "/coupon-batches", b'{"reference": "W", "quantity": "1"}'),
            422,
            "invalid-request",
        ),
        (("GET", "/nowhere", b""), 404, None),
        (("GET", "/users/", b""), 404, None),
        (("PATCH", "/users", b""), 405, None),
    ],
)
async def test_what_is_wrong_is_told_by_its_kind(
    web: Web, request_: tuple[str, str, bytes], status: int, type_: str | None
) -> None:
    """Machines go by the type; people find the story by the instance."""
    method, path, body = request_
    headers = OPERATOR | {"Content-Type": "application/json"}
    answer = await web.client.request(method, path, content=body, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == (f"urn:problem-type:allocation:{type_}" if type_ else "about:blank")
    assert told["status"] == status
    assert told["title"]
    assert told["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"


async def test_where_it_is_wrong_is_told_but_not_what_was_sent(web: Web) -> None:
    """It may be a secret in the wrong place."""
    body = {"user_id": "hunter2", "name": 5, "surname": "hunter2"}

    told = (await web.client.post("/users", json=body)).json()

    pointers = ["#/user_id", "#/name", "#/email", "#/surname"]
    assert [each["pointer"] for each in told["errors"]] == pointers
    assert "hunter2" not in str(told)


async def test_no_more_is_answered_than_was_sent(web: Web) -> None:
    """Of many mistakes the first few are enough to go on with."""
    many = {f"key{number}": 1 for number in range(4000)}
    for body in (many, {"k" * 60_000: 1}):
        answer = await web.client.post("/users", json=body)

        assert answer.status_code == 422
        assert len(answer.content) < 5000


async def test_a_large_body_is_refused_whether_it_says_so_or_not(web: Web) -> None:
    """By a problem, like all else; and the rest of it is not read, whatever it is sent to."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1000

    for path, content in (
        ("/users", b"x" * 70_000),
        ("/users", pieces()),
        ("/nowhere", b"x" * 70_000),
    ):
        headers = {"Content-Type": "application/json"}
        answer = await web.client.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:problem-type:allocation:body-too-large"


async def test_two_keys_are_none(web: Web) -> None:
    """Which of them a proxy passes on is up to it."""
    headers = [("Idempotency-Key", "k1"), ("Idempotency-Key", "k2")]
    body = {"name": "Иван", "email": "ivan@example.com"}
    answer = await web.client.post("/users", json=body, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (422, INVALID)


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", ""])
async def test_a_body_has_to_be_called_json(web: Web, media_type: str) -> None:
    """What a browser sends across sites without asking first is not."""
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await web.client.post("/users", content=b"{}", headers=headers)

    assert answer.status_code == 415
    assert answer.json()["type"].endswith(":unsupported-media-type")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/coupon-batches", "POST"),
        ("/users", "GET, HEAD, POST"),
        ("/docs/assets/swagger-ui.css", "GET, HEAD"),
    ],
)
async def test_other_methods_are_named(web: Web, path: str, methods: str) -> None:
    """All of them, as RFC 9110 wants it."""
    answer = await web.client.delete(path)

    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


class MisspelledKind(Unavailable):
    """Has no known kind, so it is a bug."""

    error_kind = "unavailible"  # type: ignore[assignment]


class RefusedInTimeError(TimeoutError):
    """Has a kind, which says more than its base: nobody is to try it again."""

    error_kind = "refused"


def test_a_kind_says_more_than_a_base_class() -> None:
    """A client would otherwise repeat for ever what can never be accepted."""
    assert (status_of(RefusedInTimeError), status_of(TimeoutError)) == (409, 503)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseUnavailable("host 10.0.0.7"), 503),
        (ConcurrentUpdate(), 503),
        (OSError("host 10.0.0.7"), 503),
        (MisspelledKind("host 10.0.0.7"), 500),
        (UnexpectedAnswer("send", None), 500),
        (ZeroDivisionError("host 10.0.0.7"), 500),
    ],
)
async def test_internals_are_in_the_log_only(
    web: Web,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
) -> None:
    """Under the id that the caller is told."""

    async def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(type(web.application.bus), "execute", fail)

    answer = await web.register_user()

    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert str(error) not in answer.text
    assert str(error) in caplog.text
    assert answer.json()["instance"].startswith("urn:uuid:")
