"""What a caller is told of an error: problem details (RFC 9457), and a status for its kind."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from allocation.domain.exceptions import AllocationError, Conflict, Malformed, Refused, Unavailable
from allocation.entrypoints.web import exceptions

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:problem-type:allocation:"
RETRY_AFTER_SECONDS = 2

STATUS: dict[type[Exception], int] = {
    exceptions.NotJson: 400,
    exceptions.UnknownHost: 400,
    exceptions.NotAuthenticated: 401,
    exceptions.BodyTooSlow: 408,
    exceptions.BodyTooLarge: 413,
    exceptions.UnsupportedMediaType: 415,
    exceptions.HeadTooLarge: 431,
    Malformed: 422,
    Refused: 409,
    Conflict: 503,
    Unavailable: 503,
    OSError: 503,
}
"""The status of each kind of error. Nothing else maps them; what is not here is a bug: 500."""

HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    503: {"Retry-After": str(RETRY_AFTER_SECONDS)},
}


def status_of(error: Exception) -> int:
    """Return the status for the kind of an error; a refusal whose name says so is 404."""
    if isinstance(error, Refused) and error.slug.endswith("-not-found"):
        return 404
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(error: Exception, correlation_id: UUID) -> JSONResponse:
    """Return the answer to a request that failed. It shows no internals: they are in the log."""
    error = _as_ours(error)
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
        content: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase}
    else:
        status, headers = status_of(error), {}
        content = _described(error, status)
    content |= {"status": status, "instance": correlation_id.urn}
    headers |= HEADERS.get(status, {})
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def _as_ours(error: Exception) -> Exception:
    """Return what the framework raises of itself as an error of this room, if there is one."""
    if isinstance(error, RequestValidationError):
        if any(each["type"] == "json_invalid" for each in error.errors()):
            return exceptions.NotJson()
        return exceptions.InvalidRequest(list(_problems(error)))
    is_unreadable = isinstance(error, HTTPException) and error.status_code == 400
    return exceptions.NotJson() if is_unreadable else error


def _problems(error: RequestValidationError) -> Iterator[dict[str, str]]:
    """Yield where something is wrong, and what; never the value, which may be a secret."""
    for each in error.errors():
        where, *path = map(str, each["loc"])
        pointer = f"#/{'/'.join(path)}" if where == "body" else f"{where} {'/'.join(path)}"
        yield {"pointer": pointer, "detail": each["msg"]}


def _described(error: Exception, status: int) -> dict[str, Any]:
    if not isinstance(error, AllocationError) or status == 500:
        title = HTTPStatus(status).phrase
        return {"type": "about:blank", "title": title, "detail": _UNSAID[status]}
    told = status < 500 or isinstance(error, exceptions.NotReady)
    content: dict[str, Any] = {
        "type": f"{TYPE}{error.slug}",
        "title": str(type(error).__doc__).partition("\n")[0],
        "detail": str(error) if told else _UNSAID[status],
    }
    if isinstance(error, exceptions.InvalidRequest):
        content["errors"] = error.problems
    return content


_UNSAID = {
    500: "The log has the reason, under the id in `instance`.",
    503: "Repeat the request later; with an Idempotency-Key, or a user_id, that is safe.",
}
