"""Refuses bodies that are too large, before they are read or while they are.

The framework also has such a limit, but responds in plain text, unlike all other errors.
"""

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercommit.extensions.web.exceptions import BodyTooLarge
from aftercommit.extensions.web.problems import answer_error


class BodyLimit:
    """A middleware that lets the application read bodies up to a number of bytes."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; if its Content-Length is too large, it is not passed on."""
        if int(Headers(scope=scope).get("content-length", 0)) > self._max_bytes:
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
