"""What a caller is told of an error: always a problem (RFC 9457), never an internal."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
from aftercommit import Application, Observer
from aftercommit.errors import Unavailable, UnexpectedAnswer
from aftercommit.extensions.web.problems import status_of
from aftercommit.sql.exceptions import DatabaseUnavailable

from aftercommit_tests.builders import table
from aftercommit_tests.extensions.web.running import OPERATOR, Web, running_web
from aftercommit_tests.things.app import Settings, Things, bootstrap
from aftercommit_tests.things.domain import MakeThing
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "status", "type_"),
    [
        (("POST", "/things", b'{"name": "I"'), 400, "not-json"),
        (("POST", "/things", b"\xff"), 400, "not-json"),
        (("POST", "/things", b"[" * 60_000), 400, "not-json"),
        (("POST", "/things", b'{"name": ""}'), 422, "invalid-request"),
        (("POST", "/things", b"[]"), 422, "invalid-request"),
        (("POST", "/things", b""), 422, "invalid-request"),
        (("GET", "/history?limit=0", b""), 422, "invalid-request"),
        (("PUT", "/things/7/name", b'{"name": "lamp"}'), 422, "invalid-request"),
        (("GET", f"/traces/{'x' * 101}", b""), 422, "invalid-value"),
        (("GET", "/things/lamp", b""), 404, "thing-not-found"),
        (("GET", "/nowhere", b""), 404, None),
        (("GET", "/history/", b""), 404, None),
        (("PATCH", "/things", b""), 405, None),
    ],
)
async def test_what_is_wrong_is_told_by_its_kind(
    web: Web, request_: tuple[str, str, bytes], status: int, type_: str | None
) -> None:
    """Machines go by the type; people find the trace by the instance."""
    method, path, body = request_
    answer = await web.client.request(method, path, content=body, headers=OPERATOR | JSON)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == (f"urn:problem-type:things:{type_}" if type_ else "about:blank")
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


@pytest.mark.parametrize(
    ("path", "says_so"), [("/things", True), ("/things", False), ("/nowhere", True)]
)
async def test_a_large_body_is_refused_whether_it_says_so_or_not(
    web: Web, path: str, says_so: bool
) -> None:
    """By a problem, like all else; and the rest of it is not read, whatever it is sent to."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1000

    content = b"x" * 70_000 if says_so else pieces()
    answer = await web.client.post(path, content=content, headers=JSON)

    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:problem-type:things:body-too-large"


@pytest.mark.parametrize(
    ("headers", "status", "type_"),
    [
        (
            [*JSON.items(), ("Idempotency-Key", "k1"), ("Idempotency-Key", "k2")],
            422,
            "invalid-value",
        ),
        ([("Content-Type", "text/plain")], 415, "unsupported-media-type"),
        ([("Content-Type", "")], 415, "unsupported-media-type"),
    ],
)
async def test_headers_have_to_say_one_thing_and_the_right_one(
    web: Web, headers: list[tuple[str, str]], status: int, type_: str
) -> None:
    """Which of two keys a proxy passes on is up to it.

    What a browser sends across sites without asking first is not called JSON.
    """
    body = b'{"name": "lamp"}'
    answer = await web.client.post("/things", content=body, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (
        status,
        f"urn:problem-type:things:{type_}",
    )


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/things", "POST"),
        ("/handlers/announce/pause", "PUT, DELETE"),
        ("/docs/assets/swagger-ui.css", "GET, HEAD"),
    ],
)
async def test_other_methods_are_named(web: Web, path: str, methods: str) -> None:
    """All of them, as RFC 9110 wants it."""
    answer = await web.client.patch(path)

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


class Failing(Things):
    """Cannot make things."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def fail(self, command: MakeThing, uow: UnitOfWork) -> None:
        raise self._error

    def open(
        self, settings: Settings, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        return bootstrap(
            settings, handlers=table(commands={**HANDLERS.commands, MakeThing: self.fail})
        )


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
    async with running_web(Failing(error), settings) as web:
        answer = await web.make_thing()

    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert str(error) not in answer.text
    assert str(error) in caplog.text
    assert answer.json()["instance"].startswith("urn:uuid:")
