"""What a caller is told of an error: always a problem (RFC 9457), never an internal."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aftercommit import App, Application, Unavailable
from aftercommit.errors import UnexpectedAnswer

from aftercommit_tests.builders import table
from aftercommit_tests.extensions.web.running import OPERATOR, Web, running_web
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.web import status_of
from aftercommit_tests.things.app import APP, Settings, bootstrap
from aftercommit_tests.things.domain import MakeThing
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
NO_TYPE = {"Content-Type": ""}
TWO_KEYS = [*JSON.items(), ("Idempotency-Key", "k1"), ("Idempotency-Key", "k2")]
CSS = "/docs/assets/swagger-ui.css"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "type_"),
    [
        ("POST", "/things", JSON, b'{"name": "I"', 400, "not-json"),
        ("POST", "/things", JSON, b"\xff", 400, "not-json"),
        ("POST", "/things", JSON, b"[" * 60_000, 400, "not-json"),
        ("POST", "/things", JSON, b'{"name": ""}', 422, "invalid-request"),
        ("POST", "/things", JSON, b"[]", 422, "invalid-request"),
        ("POST", "/things", JSON, b"", 422, "invalid-request"),
        ("POST", "/things", TWO_KEYS, b'{"name": "lamp"}', 422, "invalid-value"),
        ("POST", "/things", TEXT, b"{}", 415, "unsupported-media-type"),
        ("POST", "/things", NO_TYPE, b"{}", 415, "unsupported-media-type"),
        ("POST", "/things", JSON, b"x" * 70_000, 413, "body-too-large"),
        ("POST", "/nowhere", JSON, b"x" * 70_000, 413, "body-too-large"),
        ("PUT", "/things/7/name", OPERATOR | JSON, b'{"name": "lamp"}', 422, "invalid-request"),
        ("GET", "/history?limit=0", OPERATOR, b"", 422, "invalid-request"),
        ("GET", f"/traces/{'x' * 101}", OPERATOR, b"", 422, "invalid-value"),
        ("GET", "/things/lamp", OPERATOR, b"", 404, "thing-not-found"),
        ("GET", "/nowhere", {}, b"", 404, None),
        ("GET", "/history/", OPERATOR, b"", 404, None),
        ("PATCH", "/things", {}, b"", 405, "POST"),
        ("PATCH", "/handlers/announce/pause", {}, b"", 405, "PUT, DELETE"),
        ("PATCH", CSS, {}, b"", 405, "GET, HEAD"),
    ],
)
async def test_what_is_wrong_is_told_by_its_kind(
    web: Web, method: str, path: str, headers: Any, body: bytes, status: int, type_: str | None
) -> None:
    """Machines go by the type; people find the trace by the instance.

    All methods of a resource are named. What a browser sends across sites without asking first is
    not called JSON. Which of two keys a proxy passes on is up to it.
    """
    answer = await web.client.request(method, path, content=body, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    if status == 405:
        assert answer.headers["allow"] == type_
    else:
        assert told["type"] == (f"urn:problem-type:things:{type_}" if type_ else "about:blank")
    assert status != 413 or answer.headers["connection"] == "close"
    assert told["status"] == status
    assert told["title"]
    assert told["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"


async def test_where_it_is_wrong_is_told_but_not_what_was_sent(web: Web) -> None:
    """It may be a secret in the wrong place; and of many mistakes the first few are enough."""
    body = {"thing_id": "hunter2", "name": 5, "surname": "hunter2"}

    told = (await web.client.post("/things", json=body)).json()

    assert [each["pointer"] for each in told["errors"]] == ["#/thing_id", "#/name", "#/surname"]
    assert "hunter2" not in str(told)
    for many in ({f"key{number}": 1 for number in range(4000)}, {"k" * 60_000: 1}):
        answer = await web.client.post("/things", json=many)
        assert answer.status_code == 422
        assert len(answer.content) < 5000


async def test_a_large_body_is_refused_whether_it_says_so_or_not(web: Web) -> None:
    """By a problem, like all else; and the rest of it is not read."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10**6:
            sent += 1000
            yield b"x" * 1000

    answer = await web.client.post("/things", content=pieces(), headers=JSON)

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.json()["type"] == "urn:problem-type:things:body-too-large"
    assert sent < 100_000


class MisspelledKind(Unavailable):
    """Has no known kind, so it is a bug."""

    error_kind = "unavailible"  # type: ignore[assignment]


class RefusedInTimeError(TimeoutError):
    """Has a kind, which says more than its base: nobody is to try it again."""

    error_kind = "refused"


def test_a_kind_says_more_than_a_base_class() -> None:
    """A client would otherwise repeat forever what can never be accepted."""
    assert (status_of(RefusedInTimeError), status_of(TimeoutError)) == (409, 503)


def failing(error: Exception) -> App[Settings]:
    """Return the application, which cannot make things."""

    async def fail(command: MakeThing, uow: UnitOfWork) -> None:
        raise error

    handlers = table(commands={**HANDLERS.commands, MakeThing: fail})

    def opened(
        app: App[Settings], settings: Settings, **_: object
    ) -> AbstractAsyncContextManager[Application]:
        return bootstrap(settings, handlers=handlers)

    return APP.with_parts(open=opened)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseUnavailable("host 10.0.0.7"), 503),
        (OSError("host 10.0.0.7"), 503),
        (MisspelledKind("host 10.0.0.7"), 500),
        (UnexpectedAnswer("send", None), 500),
        (ZeroDivisionError("host 10.0.0.7"), 500),
    ],
)
async def test_internals_are_in_the_log_only(
    settings: Settings, caplog: pytest.LogCaptureFixture, error: Exception, status: int
) -> None:
    """Under the id that the caller is told."""
    async with running_web(failing(error), settings) as web:
        answer = await web.make_thing()

    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert str(error) not in answer.text
    assert str(error) in caplog.text
    assert answer.json()["instance"].startswith("urn:uuid:")
