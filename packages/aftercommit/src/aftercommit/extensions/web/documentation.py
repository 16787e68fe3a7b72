"""What the OpenAPI document says about all requests, and a page that shows it.

The page's scripts come from a package, and there are no inline scripts: no other server is
contacted, and the content security policy forbids all other scripts.
"""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.responses import HTMLResponse, PlainTextResponse

from aftercommit.extensions.web.authentication import BEARER
from aftercommit.extensions.web.package_files import add_files
from aftercommit.extensions.web.request_context import REQUEST_ID

OF_REQUESTS = """Every answer names its trace in `X-Request-ID`: the one that the request came
with, in `traceparent` or `X-Request-ID`, or a new one. Every error is a problem (RFC 9457);
`instance` is that id, and `type` a stable name. A request with an `Idempotency-Key` may be repeated
until it is answered.
"""
ASSETS = "/docs/assets"
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{name}}</title>
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script></body></html>
"""
SCRIPT = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null});\n'

RequestId = Annotated[
    str | None,
    Header(alias=REQUEST_ID, description="The trace: a UUID; any other value is mapped to one."),
]
Traceparent = Annotated[
    str | None, Header(description="The same (W3C Trace Context); it counts before X-Request-ID.")
]

public = APIRouter(include_in_schema=False)
add_files(public, ASSETS, "fastapi_offline", "static")


def description(summary: str) -> str:
    """Return the document's introduction: what the application does, and what holds for all."""
    return f"{summary}\n\n{OF_REQUESTS}"


class Documented(FastAPI):
    """Names the environment variable of the operator's token in the document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        operator = document["components"]["securitySchemes"][BEARER.scheme_name]
        operator["description"] = operator["description"].format(prefix=self.state.name.upper())
        return document


async def trace_headers(_id: RequestId = None, traceparent: Traceparent = None) -> None:
    """Document the headers that `request_context.py` reads: a dependency of all routes."""


@public.get("/docs")
async def page(request: Request) -> HTMLResponse:
    """Show the document in a browser."""
    return HTMLResponse(PAGE.format(name=request.app.state.name))


@public.get("/docs/page.js")
async def script() -> PlainTextResponse:
    """Return the script of the page."""
    return PlainTextResponse(SCRIPT, media_type="text/javascript")
