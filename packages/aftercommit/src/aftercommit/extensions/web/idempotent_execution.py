"""Executes the command of a request, once: `Idempotency-Key` is the id of its message.

As in the draft draft-ietf-httpapi-idempotency-key-header, with one difference: of two equal
requests at the same moment the second waits for the first, and gets its result.
"""

import logging
import re
from dataclasses import replace
from uuid import UUID, uuid4, uuid5

from fastapi import Request

from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import InvalidValue, MessageAlreadyHandled
from aftercommit.extensions.idempotency_key_parameter import PATTERN
from aftercommit.extensions.web.authentication import caller
from aftercommit.extensions.web.exceptions import IdempotencyKeyReused
from aftercommit.extensions.web.request_context import NAMESPACE, request_context
from aftercommit.process.application import Application
from aftercommit.sql import inbox

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # what changes nothing needs no key

logger = logging.getLogger(__name__)


async def receive(request: Request) -> None:
    """Take a request as a message, with its `Idempotency-Key` as its id: a dependency of routes.

    Endpoints, also those of other extensions, find it in `request.state.received`.

    :raises InvalidValue: if the key cannot be one
    """
    is_safe = request.method in SAFE_METHODS
    keys = [] if is_safe else request.headers.getlist("idempotency-key")
    found = re.fullmatch(PATTERN, keys[0]) if len(keys) == 1 else None
    if keys and not found:
        rule = "is not one, of 1 to 255 visible characters of ASCII, in quotes or not"
        raise InvalidValue("Idempotency-Key", rule)
    context = request_context(request)
    request.state.received = MessageOrigin(
        source=f"http:{caller(request)} {request.method} {request.url.path}",
        id=found and (found[1] or found[2]),
        correlation_id=context.correlation_id,
        traceparent=context.traceparent,
    )


class IdempotentExecution:
    """Executes what a request wants done, for every endpoint that takes a command."""

    def __init__(self, request: Request) -> None:
        self._application: Application = request.app.state.application
        self._context = request_context(request)
        self._origin: MessageOrigin = request.state.received

    def new_id(self) -> UUID:
        """Make an id; for a repetition it is the same."""
        if key := self._origin.id:
            return uuid5(NAMESPACE, f"{self._origin.source}\n{key}")
        return uuid4()

    async def execute(self, command: object) -> None:
        """Execute the command, unless the request is the repetition of one that was accepted.

        The answer to a repetition names the trace of the first.

        :raises IdempotencyKeyReused: if its key was used for another command
        :raises Exception: as `bus.execute`
        """
        origin = self._origin
        if origin.id is not None:
            codec = self._application.database.codec
            origin = replace(origin, fingerprint=codec.fingerprint(command))
        try:
            self._context.committed = await self._application.bus.execute(command, origin)
        except MessageAlreadyHandled as repeated:
            logger.info("%s", repeated)
            await self._recognize(origin, repeated)

    async def _recognize(self, origin: MessageOrigin, error: MessageAlreadyHandled) -> None:
        database = self._application.database
        first = await inbox.accepted_command(database, origin.source, origin.id)
        if first is None:  # it was pruned just now: the next time it is a new one
            raise error
        if first.fingerprint not in (None, origin.fingerprint):  # None: what it said was erased
            raise IdempotencyKeyReused
        self._context.correlation_id = first.correlation_id
