"""A request and its answer: which story they belong to, and what every answer has in common."""

import logging
import re
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID, uuid4, uuid5

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allocation.entrypoints.web.exceptions import HeadTooLarge, UnknownHost
from allocation.entrypoints.web.problems import problem, status_of
from allocation.entrypoints.web.settings import HEAD_BYTES
from allocation.service_layer.envelopes import Envelope, MessageContext, working_on

NAMESPACE = UUID("0d2ef6ff-9f53-4f0b-8c5e-6f6f2f6a4f1e")  # of the ids that are made of others' ids
STORY = "X-Request-ID"
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Exchange:
    """One request, and what is known of it meanwhile."""

    correlation_id: UUID
    traceparent: str | None = None
    caused: list[Envelope] = field(default_factory=list)  # what its command has committed


def exchange_of(connection: HTTPConnection) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = connection.state.exchange
    return exchange


def begun(headers: Headers) -> Exchange:
    """Begin an exchange in the story that the caller names, else in a new one.

    A `traceparent` (W3C Trace Context) counts first, then `X-Request-ID`: a UUID as it is, of
    anything else one is made, always the same.
    """
    traceparent, name = headers.get("traceparent", ""), headers.get(STORY)
    if found := TRACEPARENT.fullmatch(traceparent):
        return Exchange(UUID(found[1]), traceparent)
    return Exchange(_as_uuid(name) if name else uuid4())


def _as_uuid(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        return uuid5(NAMESPACE, name)


class Exchanges:
    """Gives each request its exchange, and each answer its headers; answers what nobody caught."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange: Exchange = scope["state"]["exchange"]
        answer = _Answer(exchange, scope, send)
        story = exchange.correlation_id
        with working_on(MessageContext(correlation_id=story, causation_id=story)):
            try:
                self._check(Headers(scope=scope))
                await self._app(scope, receive, answer.send)
            except Exception as error:
                if answer.begun:
                    raise
                log_unexpected(error)
                await problem(error, exchange.correlation_id)(scope, receive, answer.send)

    def _check(self, headers: Headers) -> None:
        if sum(map(len, chain.from_iterable(headers.raw))) > HEAD_BYTES:
            raise HeadTooLarge(HEAD_BYTES)
        host = re.sub(r":\d+$", "", headers.get("host", "").lower())
        if self._hosts and host not in self._hosts:
            raise UnknownHost


def log_unexpected(error: Exception) -> None:
    """Log what the caller is not told."""
    status = status_of(error)
    if status == 500:
        logger.error("a request failed", exc_info=error)
    elif status == 503:
        logger.warning("a request has to be repeated: %s", error)


class _Answer:
    """Sends an answer with the headers that all have, and logs it."""

    def __init__(self, exchange: Exchange, scope: MutableMapping[str, Any], send: Send) -> None:
        self._exchange, self._scope, self._send = exchange, scope, send
        self.begun = False

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            headers[STORY] = str(self._exchange.correlation_id)
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            logger.info("%s %r: %d", self._scope["method"], self._scope["path"], message["status"])
        await self._send(message)
