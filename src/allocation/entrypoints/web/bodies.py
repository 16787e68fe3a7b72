"""Takes the body of a request whole, or refuses it: it may be neither large, slow nor no JSON."""

from anyio import fail_after
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allocation.entrypoints.web.exceptions import BodyTooLarge, BodyTooSlow, UnsupportedMediaType


class HungUpError(Exception):
    """The caller hung up before the request was whole."""


class Bodies:
    """Hands on requests whose bodies have arrived.

    :raises BodyTooLarge: before it is read, if the request says so itself
    :raises BodyTooSlow: if it takes too long
    :raises UnsupportedMediaType: if there is one, and it is not called JSON
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float) -> None:
        self._app, self._limit, self._seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        try:
            receive = await self._taken(Headers(scope=scope), receive)
        except HungUpError:
            return
        await self._app(scope, receive, send)

    async def _taken(self, headers: Headers, receive: Receive) -> Receive:
        """Return another way to receive the body, which is there."""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 20 or int(length) > self._limit:
            raise BodyTooLarge(self._limit)
        try:
            with fail_after(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            raise BodyTooSlow(self._seconds) from None
        if body and headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise UnsupportedMediaType
        return _again(body, receive)

    async def _read(self, receive: Receive) -> bytes:
        body: bytes = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HungUpError
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise BodyTooLarge(self._limit)
            if not message.get("more_body", False):
                return body


JSON = "application/json"


def _again(body: bytes, receive: Receive) -> Receive:
    """Receive the body in one message, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
