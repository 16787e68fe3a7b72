"""Executes the command of a request, once: `Idempotency-Key` is the id of its message.

As in the draft draft-ietf-httpapi-idempotency-key-header, with one difference: of two equal
requests at the same moment the second waits for the first, and gets its result.
"""

import logging
import re
from dataclasses import replace
from hashlib import sha256
from uuid import UUID, uuid4, uuid5

import msgspec
from fastapi import Request

from allocation.adapters.web import views
from allocation.adapters.wire import wire_name
from allocation.bootstrap import Application
from allocation.domain.commands import Command
from allocation.domain.exceptions import InvalidValue
from allocation.entrypoints.web.exceptions import IdempotencyKeyReused
from allocation.entrypoints.web.exchanges import NAMESPACE, exchange_of
from allocation.service_layer.envelopes import ReceivedMessage
from allocation.service_layer.exceptions import MessageAlreadyHandled

KEY = r'"([ !#-\[\]-~]{1,255})"|([!#-+\--\[\]-~]{1,255})'
METHODS = frozenset({"POST", "PUT"})  # the others that change something are repeatable anyhow

logger = logging.getLogger(__name__)


class Execution:
    """What a request wants done: a dependency of every endpoint that takes a command."""

    def __init__(self, request: Request) -> None:
        self._application: Application = request.app.state.application
        self._exchange = exchange_of(request)
        self._received = received(request)

    def new_id(self) -> UUID:
        """Make an id; for a repetition it is the same."""
        if key := self._received.id:
            return uuid5(NAMESPACE, f"{self._received.source}\n{key}")
        return uuid4()

    async def of(self, command: Command) -> None:
        """Execute the command, unless the request is the repetition of one that was accepted.

        The answer to a repetition names the story of the first.

        :raises IdempotencyKeyReused: if its key was used for another command
        :raises AllocationError: as `bus.execute`
        """
        received = self._received
        if received.id is not None:
            received = replace(received, fingerprint=fingerprint(command))
        try:
            self._exchange.caused += await self._application.bus.execute(command, received)
        except MessageAlreadyHandled as repeated:
            logger.info("%s", repeated)
            await self._recognize(received, repeated)

    async def _recognize(self, received: ReceivedMessage, error: MessageAlreadyHandled) -> None:
        first = await views.accepted(self._application.database, received.source, received.id)
        if first is None:  # it has been forgotten just now: the next time it is a new one
            raise error
        if first.fingerprint != received.fingerprint:
            raise IdempotencyKeyReused
        self._exchange.correlation_id = first.correlation_id


async def recognizable(request: Request) -> None:
    """Tell an endpoint of another room as what to note what it does: a dependency of routes."""
    request.state.received = received(request)


def received(request: Request) -> ReceivedMessage:
    """Return a request as a message, with its `Idempotency-Key` as its id.

    :raises InvalidValue: if that cannot be one
    """
    exchange = exchange_of(request)
    return ReceivedMessage(
        source=f"http:{caller(request)} {request.method} {request.url.path}",
        id=_key(request.headers.get("idempotency-key")) if request.method in METHODS else None,
        correlation_id=exchange.correlation_id,
        traceparent=exchange.traceparent,
    )


def caller(request: Request) -> str:
    """Return who asks, without saying a secret: by the token that was sent, else by the address."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return f"token-{sha256(token.strip().encode()).hexdigest()[:32]}"
    return request.client.host if request.client else "unknown"


def fingerprint(command: Command) -> str:
    """Return what tells commands apart that say different things, however they are spelled."""
    said = msgspec.json.encode([wire_name(type(command)), msgspec.to_builtins(command)])
    return sha256(said).hexdigest()


def _key(header: str | None) -> str | None:
    if header is None:
        return None
    if not (found := re.fullmatch(KEY, header)):
        rule = "is not 1 to 255 visible characters of ASCII, in quotes or not"
        raise InvalidValue("Idempotency-Key", rule)
    return found[1] or found[2]
