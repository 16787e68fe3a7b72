"""A small HTTP server on AnyIO's sockets: one GET for each connection, a few at a time.

It is for a scraper and for probes, so it needs no framework: of a request it reads the first line.
Slow or huge ones end after a while; what is more than a few at once is hung up on.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    DelimiterNotFound,
    EndOfStream,
    IncompleteRead,
    move_on_after,
    sleep,
)
from anyio.abc import Listener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

MAX_CONNECTIONS = 20
HEAD_BYTES = 8192
CONVERSATION_SECONDS = 10.0  # for all of it
RELISTEN_SECONDS = 1.0

HUNG_UP = (BrokenResourceError, ClosedResourceError, EndOfStream, IncompleteRead)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: str
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    def encoded(self, *, with_body: bool) -> bytes:
        """Return it as it is sent. The connection ends with it."""
        head = (
            f"HTTP/1.1 {self.status}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (self.body if with_body else b"")


Answer = Callable[[str], Awaitable[Response]]  # to a path

MALFORMED = Response("400 Bad Request", b"this is no HTTP request\n")
NOT_ALLOWED = Response("405 Method Not Allowed", b"only GET is answered\n")
TOO_LONG = Response("431 Request Header Fields Too Large", b"the request is too long\n")
BROKEN = Response("500 Internal Server Error", b"see the log\n")


class HttpServer:
    """Answers requests, each by its path."""

    def __init__(self, answer: Answer, *, seconds: float = CONVERSATION_SECONDS) -> None:
        self._answer, self._seconds = answer, seconds
        self._open = 0

    async def serve(self, listener: Listener[SocketStream]) -> None:
        """Answer until cancelled, whatever goes wrong."""
        while True:
            try:
                await listener.serve(self._receive)
            except Exception as error:  # such as too many open files
                logger.warning("no connections for a moment: %s", error)
            await sleep(RELISTEN_SECONDS)

    async def _receive(self, stream: SocketStream) -> None:
        self._open += 1
        try:
            async with stream:
                if self._open <= MAX_CONNECTIONS:
                    with move_on_after(self._seconds), suppress(*HUNG_UP):
                        await self._converse(stream)
        finally:
            self._open -= 1

    async def _converse(self, stream: SocketStream) -> None:
        try:
            received = BufferedByteReceiveStream(stream)
            head = await received.receive_until(b"\r\n\r\n", HEAD_BYTES)
        except DelimiterNotFound:
            sent = TOO_LONG.encoded(with_body=True)
        else:
            sent = await self._answered(head)
        await stream.send(sent)
        await stream.send_eof()
        while True:  # to close before it has read all could take the answer away from it
            await stream.receive()

    async def _answered(self, head: bytes) -> bytes:
        match head.partition(b"\r\n")[0].decode("latin-1").split(" "):
            case ["GET" | "HEAD" as method, target, "HTTP/1.0" | "HTTP/1.1"]:
                response = await self._response(target.partition("?")[0])
                return response.encoded(with_body=method == "GET")
            case [_, _, "HTTP/1.0" | "HTTP/1.1"]:
                return NOT_ALLOWED.encoded(with_body=True)
        return MALFORMED.encoded(with_body=True)

    async def _response(self, path: str) -> Response:
        try:
            return await self._answer(path)
        except Exception:
            logger.exception("%s could not be answered", path)
            return BROKEN
