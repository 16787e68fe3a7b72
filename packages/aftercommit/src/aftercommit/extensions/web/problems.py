"""The response to a failed request: a problem (RFC 9457), with the status of the error's kind."""

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from aftercommit.errors import Kind, has_kind, kind_of, slug_of
from aftercommit.extensions.web import exceptions
from aftercommit.extensions.web.request_context import request_context

MEDIA_TYPE = "application/problem+json"
CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
MAX_MISTAKES, MAX_POINTER = 20, 100  # so that a response is no longer than the request

STATUS: Mapping[Kind | type[Exception], int] = {
    exceptions.NotJson: 400,
    exceptions.UnknownHost: 400,
    exceptions.NotAuthenticated: 401,
    exceptions.BodyTooLarge: 413,
    exceptions.UnsupportedMediaType: 415,
    OSError: 503,
    "invalid": 422,
    "refused": 409,
    "conflict": 503,
    "transient": 503,
    "unavailable": 503,
}
"""The status of an error, or of its kind; all others are bugs: 500. Only here they are mapped."""

OF_FRAMEWORK = {400: exceptions.NotJson, 413: exceptions.BodyTooLarge}
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}  # seconds
GENERIC_DETAIL = {
    500: "The log contains the reason, under the id in `instance`.",
    503: "Repeat the request later; an Idempotency-Key, or an id in the body, makes that safe.",
}

logger = logging.getLogger(__name__)


class Mistake(BaseModel):
    """Something that does not fit the API: where it is, and why it does not fit."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457); `type` is a stable name, `instance` the id of the trace."""

    type: str
    title: str
    status: int
    instance: str
    detail: str = ""
    errors: list[Mistake] = []


BUG: dict[int | str, dict[str, Any]] = {
    500: {
        "description": "A bug: the log contains the details.",
        "content": CONTENT,
        "model": Problem,
    }
}


def status_of(kind: type[Exception]) -> int:
    """Return the status for a kind of errors; a refusal whose name says so has 404."""
    if kind_of(kind) == "refused" and slug_of(kind).endswith("-not-found"):
        return 404
    classes = (each for each in kind.__mro__ if each is not OSError)  # a kind says more than this
    known = (*classes, kind_of(kind), *kind.__mro__)
    return next((STATUS[each] for each in known if each in STATUS), 500)


def errors(*kinds: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` for an endpoint, by the status of each kind of errors."""
    by_status: dict[int | str, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(status_of(kind), []).append(f"`{slug_of(kind)}`: {title_of(kind)}")
    return {
        n: {"description": "\n\n".join(each), "content": CONTENT} for n, each in by_status.items()
    }


def title_of(kind: type[Exception]) -> str:
    """Return in a sentence what a kind of errors means."""
    return str(kind.__doc__).partition("\n")[0]


async def answer_error(request: Request, error: Exception) -> Response:
    """Respond with a problem. It shows no internals, which are in the log."""
    error = _as_ours(error)
    urn = f"urn:problem-type:{request.app.state.name}:"
    problem = _problem(error, request_context(request).correlation_id.urn, urn)
    if problem.status == 503:
        logger.warning("a request has to be repeated: %s", error)
    elif problem.status == 500 and has_kind(error):  # other errors are raised again
        logger.error("a request failed", exc_info=error)
    headers = {**(getattr(error, "headers", None) or {}), **HEADERS.get(problem.status, {})}
    content = problem.model_dump_json(exclude_unset=True)
    return Response(content, problem.status, headers, MEDIA_TYPE)


class KindsAnswered:
    """Answers errors by their kind, whatever their class; the framework goes by classes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            if not has_kind(error):
                raise
            answer = await answer_error(Request(scope, receive), error)
            await answer(scope, receive, send)


def _as_ours(error: Exception) -> Exception:
    """Return one of our errors for an error of the framework, if there is one."""
    if isinstance(error, HTTPException) and error.status_code in OF_FRAMEWORK:
        return OF_FRAMEWORK[error.status_code]()
    if not isinstance(error, RequestValidationError):
        return error
    if isinstance(error.body, bytes):  # it was not read, because its media type is another
        return exceptions.UnsupportedMediaType()
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return exceptions.NotJson()
    return exceptions.InvalidRequest(islice(_mistakes(error), MAX_MISTAKES))


def _mistakes(error: RequestValidationError) -> Iterator[dict[str, str]]:
    """Yield where something is wrong, and what; never the value, which may be a secret."""
    for each in error.errors():
        where, *path = map(str, each["loc"])
        pointer = f"#/{'/'.join(path)}" if where == "body" else f"{where} {'/'.join(path)}"
        yield {"pointer": pointer[:MAX_POINTER], "detail": each["msg"]}


def _problem(error: Exception, instance: str, urn: str) -> Problem:
    if isinstance(error, HTTPException):
        status, title = error.status_code, error.detail
        return Problem(type="about:blank", title=title, status=status, instance=instance)
    status = status_of(type(error))
    content: dict[str, Any] = {"status": status, "instance": instance}
    if status >= 500 and not isinstance(error, exceptions.NotReady):
        content["detail"] = GENERIC_DETAIL[status]
    elif str(error):
        content["detail"] = str(error)
    if isinstance(error, exceptions.InvalidRequest):
        content["errors"] = error.mistakes
    if status == 500 or not has_kind(error):
        return Problem(type="about:blank", title=HTTPStatus(status).phrase, **content)
    return Problem(type=f"{urn}{slug_of(error)}", title=title_of(type(error)), **content)
