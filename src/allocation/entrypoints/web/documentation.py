"""The OpenAPI document, completed with what all operations have in common, and a page to read it.

The page's scripts come out of a package, and none is written in the page: nobody else's server is
asked, and the content security policy forbids all others.
"""

import mimetypes
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

from allocation.entrypoints.web.executing import KEY, METHODS
from allocation.entrypoints.web.problems import HEADERS, MEDIA_TYPE, TYPE

Json = dict[str, Any]

ID = "0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69"
DESCRIPTION = """Register users; each gets a welcome e-mail and a coupon.

Every answer names its story in `X-Request-ID`: the one that the request came with, in `traceparent`
or `X-Request-ID`, or a new one. Every error is a problem (RFC 9457); `instance` is that id, and
`type` a stable name. Whoever sends an `Idempotency-Key` may repeat a request until it is answered.
"""
ASSETS = "/docs/assets"
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>allocation</title>
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script></body></html>
"""
SCRIPT = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null});\n'

public = APIRouter(include_in_schema=False)


@public.get("/docs")
async def page() -> HTMLResponse:
    """Show the document to people."""
    return HTMLResponse(PAGE)


@public.get("/docs/page.js")
async def script() -> PlainTextResponse:
    """Begin the page."""
    return PlainTextResponse(SCRIPT, media_type="text/javascript")


def assets() -> StaticFiles:
    """Return the files of the page."""
    mimetypes.init()  # now: it reads files, which the event loop must not wait for
    return StaticFiles(packages=[("fastapi_offline", "static")])


def document_with(app: FastAPI) -> None:
    """Let the application describe itself completely."""
    described = app.openapi
    app.openapi = partial(_complete, app, described)  # type: ignore[method-assign]


def _complete(app: FastAPI, described: Any) -> Json:
    if app.openapi_schema is None:
        document = described()
        document["info"]["description"] = DESCRIPTION
        schemas = document["components"]["schemas"]
        for framework in ("HTTPValidationError", "ValidationError"):
            schemas.pop(framework, None)
        schemas["Problem"] = PROBLEM
        document["components"]["headers"] = {"story": STORY}
        for method, operation in _operations(document):
            _complete_operation(method, operation)
    return app.openapi_schema or {}


def _operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path in document["paths"].values():
        yield from path.items()


def _complete_operation(method: str, operation: Json) -> None:
    """Add what every operation may be sent, and may answer."""
    has_body, asks = "requestBody" in operation, "parameters" in operation
    keys = [IDEMPOTENCY_KEY] * (method.upper() in METHODS)
    operation.setdefault("parameters", []).extend([*keys, *STORIES])
    responses: Json = operation["responses"]
    for status in (400, 431, 500, 503):
        responses.setdefault(str(status), {})
    for status in (408, 413, 415) if has_body else ():
        responses[str(status)] = {}
    if "security" in operation:
        responses["401"] = {}
    if has_body or asks:
        responses["422"] = {}
    operation["responses"] = {
        status: _response(int(status), responses[status]) for status in sorted(responses)
    }


def _response(status: int, response: Json) -> Json:
    headers: Json = {"X-Request-ID": {"$ref": "#/components/headers/story"}}
    for name, value in HEADERS.get(status, {}).items():
        headers[name] = {"schema": {"type": "string"}, "example": value}
    if status >= 400:
        response = {"description": MEANING[status], "content": {MEDIA_TYPE: _problem(status)}}
    return response | {"headers": headers | response.get("headers", {})}


def _problem(status: int) -> Json:
    type_ = f"{TYPE}{TYPICAL[status]}" if status in TYPICAL else "about:blank"
    example: Json = {"type": type_, "title": HTTPStatus(status).phrase, "status": status}
    reference = {"$ref": "#/components/schemas/Problem"}
    return {"schema": reference, "example": example | {"instance": f"urn:uuid:{ID}"}}


MEANING = {
    400: "The request is no HTTP, or its body no JSON, or its host another.",
    401: "The operator's token is missing, or another.",
    404: "It is not there.",
    408: "The body did not arrive in time.",
    409: "A rule of the business refuses it. Nothing was stored.",
    413: "The body is too large; it was not read.",
    415: "The body is not called application/json.",
    422: "A value can never be accepted, or the key was used for another body.",
    431: "The headers are too large.",
    500: "A bug. The log has more, under the id in `instance`.",
    503: "Not now. Repeat the request after `Retry-After` seconds.",
}
TYPICAL = {
    400: "not-json",
    401: "not-authenticated",
    404: "user-not-found",
    408: "body-too-slow",
    409: "email-already-registered",
    413: "body-too-large",
    415: "unsupported-media-type",
    422: "invalid-value",
    431: "head-too-large",
    503: "database-unavailable",
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Recognizes a repetition: the same key with the same body has one effect, and"
    ' the first result. 1 to 255 characters of ASCII, best a UUID, in "quotes" or not. Keys of'
    " different callers, methods and paths do not meet.",
    "schema": {"type": "string", "pattern": f"^({KEY})$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}
STORY: Json = {
    "description": "The id of the story: traces and the log have it.",
    "schema": {"type": "string", "format": "uuid"},
    "example": ID,
}
STORIES: list[Json] = [
    {
        "name": "X-Request-ID",
        "in": "header",
        "required": False,
        "description": "The story it belongs to: a UUID; of another name one is made.",
        "schema": {"type": "string"},
        "example": ID,
    },
    {
        "name": "traceparent",
        "in": "header",
        "required": False,
        "description": "The same, as W3C Trace Context; it counts before X-Request-ID.",
        "schema": {"type": "string"},
        "example": "00-0b6f2c0e5d434f6e9a572f1d3c4b5a69-00f067aa0ba902b7-01",
    },
]
PROBLEM: Json = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "A stable name."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri", "description": "The id of the story."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
