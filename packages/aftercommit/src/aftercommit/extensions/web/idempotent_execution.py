"""Executes the command of a request, once: `Idempotency-Key` is the id of its message.

It follows the draft draft-ietf-httpapi-idempotency-key-header, with one difference: of two equal
requests at the same time, the second waits for the first and gets its result.
"""

import logging
import re
from uuid import UUID, uuid4, uuid5

from fastapi import Request

from aftercommit.codec import fingerprint
from aftercommit.deliveries import inbox
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import InvalidValue, MessageAlreadyHandled
from aftercommit.extensions.idempotency_key_parameter import PATTERN
from aftercommit.extensions.web.authentication import caller
from aftercommit.extensions.web.exceptions import IdempotencyKeyReused
from aftercommit.extensions.web.request_context import NAMESPACE, request_context
from aftercommit.process.application import Application

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing need no key

logger = logging.getLogger(__name__)


async def receive(request: Request) -> None:
    """Take a request as a message, whose id is its `Idempotency-Key`: a dependency of routes.

    Endpoints, including those of other extensions, find it in `request.state.received`.

    :raises InvalidValue: if the key has a wrong form
    """
    is_safe = request.method in SAFE_METHODS
    keys = [] if is_safe else request.headers.getlist("idempotency-key")
    found = re.fullmatch(PATTERN, keys[0]) if len(keys) == 1 else None
    if keys and not found:
        rule = "has to be one key of 1 to 255 visible ASCII characters, with or without quotes"
        raise InvalidValue("Idempotency-Key", rule)
    context, scope = request_context(request), request.scope  # its URL may not be parsed
    query = scope["query_string"].decode("latin-1")
    request.state.received = MessageOrigin(
        source=f"http:{caller(request)} {request.method} {scope['path']}",
        id=found and (found[1] or found[2]),
        fingerprint=fingerprint(query, await request.body()) if found else None,
        correlation_id=context.correlation_id,
        traceparent=context.traceparent,
    )


class IdempotentExecution:
    """Executes the command of a request, for every endpoint that takes a command."""

    def __init__(self, request: Request) -> None:
        self._application: Application = request.app.state.application
        self._context = request_context(request)
        self._origin: MessageOrigin = request.state.received

    def new_id(self) -> UUID:
        """Return a new id, which is the same for a repetition of the request."""
        if key := self._origin.id:
            return uuid5(NAMESPACE, f"{self._origin.source}\n{key}")
        return uuid4()

    async def execute(self, command: object) -> None:
        """Execute the command, unless the request repeats one that was accepted.

        The response to a repetition names the trace of the first request.

        :raises IdempotencyKeyReused: if its key was used for a request with another content
        :raises Exception: as `bus.execute`
        """
        try:
            self._context.committed = await self._application.bus.execute(command, self._origin)
        except MessageAlreadyHandled as repeated:
            logger.info("%s", repeated)
            await self._recognize(self._origin, repeated)

    async def _recognize(self, origin: MessageOrigin, error: MessageAlreadyHandled) -> None:
        database = self._application.database
        first = await inbox.accepted_command(database, origin.source, origin.id)
        if first is None:  # it was just pruned: the next repetition is a new command
            raise error
        if first.fingerprint not in (None, origin.fingerprint):  # None: its content was erased
            raise IdempotencyKeyReused
        self._context.correlation_id = first.correlation_id
