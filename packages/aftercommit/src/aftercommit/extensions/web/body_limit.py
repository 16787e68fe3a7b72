"""Refuses bodies that are too large, before they are read or while they are, and gives each a type.

The framework also has such a limit, but responds in plain text, unlike all other errors. Older
versions of it read as JSON what has no type, which a page of others may send without asking first.
"""

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercommit.extensions.web.exceptions import BodyTooLarge
from aftercommit.extensions.web.problems import answer_error

UNTYPED = (b"content-type", b"application/octet-stream")  # what nothing means: RFC 9110, 8.3


class BodyLimit:
    """A middleware that lets the application read bodies up to a number of bytes."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; if its Content-Length is too large, it is not passed on."""
        headers = Headers(scope=scope)
        if not headers.get("content-type"):
            scope = {**scope, "headers": [UNTYPED, *scope["headers"]]}
        if int(headers.get("content-length", 0)) > self._max_bytes:
            refusal = await answer_error(Request(scope), BodyTooLarge())
            await refusal(scope, receive, send)
            return
        read = 0

        async def receive_limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise HTTPException(413)  # the framework passes on only these errors
            return message

        await self._app(scope, receive_limited, send)
