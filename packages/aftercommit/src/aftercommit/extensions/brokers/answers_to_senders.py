"""Answers: tell the sender of a command what became of it, if its message says where to.

A refused command becomes a dead letter, which its sender does not see. So a message can name a
queue or topic for an answer, in the attribute `replyto` of a CloudEvent, in AMQP's property
`reply_to`, or in the header `reply-to`. The answer is sent before the message is acknowledged, so
it is sent at least once.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from uuid import uuid4

import msgspec
from anyio import current_time, sleep

from aftercommit.envelopes import EventId
from aftercommit.errors import is_transient
from aftercommit.extensions.brokers.base import (
    Broker,
    OutgoingCommand,
    ReceivedMessage,
    reason_of,
    text_of,
)
from aftercommit.extensions.brokers.cloud_events import to_command

ANSWER_SECONDS = 10.0  # how long a missing target is looked for; then the message is acknowledged
PAUSE_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Asking(msgspec.Struct):
    """What is read from a message to answer it, whatever else the message contains."""

    id: str | None = None
    source: str = ""
    replyto: str | None = None


class CommandAccepted(msgspec.Struct):
    """The command with this id was executed, now or before, and caused these events."""

    command: str | None
    events: Sequence[EventId]


class CommandRefused(msgspec.Struct):
    """The command was refused for good: `error` is a stable name, `reason` a sentence."""

    command: str | None
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an answer: where the answer goes, and which message it is about."""

    to: str
    source: str
    message_id: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class Answers:
    """Sends answers to queues and topics whose names match one of the `allowed` patterns."""

    application: str
    allowed: Collection[str]
    find_events: Callable[[str, str | None], Awaitable[Sequence[EventId]]]

    def asked(self, message: ReceivedMessage) -> Asked | None:
        """Return where a message wants its answer; None if it wants none, or may not."""
        body, said = _asking(message), message.properties
        to = said.get("reply_to") or text_of(message.headers.get("reply-to") or "") or body.replyto
        if not to:
            return None
        if not any(fnmatchcase(to, pattern) for pattern in self.allowed):
            logger.warning("a message wants an answer to %s, which answer_to does not allow", to)
            return None
        return Asked(to, body.source, body.id, said.get("correlation_id") or body.id)

    async def accepted(self, broker: Broker, asked: Asked) -> bool:
        """Tell the sender which events a command caused; return whether the answer has arrived.

        The events are read from the database, so a repetition gets the same answer.
        """
        events = await self.find_events(asked.source, asked.message_id)
        said = CommandAccepted(asked.message_id, events)
        return await self._send(broker, asked, "command_accepted", said)

    async def refused(self, broker: Broker, asked: Asked, error: Exception) -> bool:
        """Tell the sender why a command was refused; return whether the answer has arrived."""
        said = CommandRefused(asked.message_id, *reason_of(error))
        return await self._send(broker, asked, "command_refused", said)

    async def _send(self, broker: Broker, asked: Asked, name: str, said: object) -> bool:
        answer_id, deadline = str(uuid4()), current_time() + ANSWER_SECONDS
        body = to_command(
            id=answer_id,
            source=f"/{self.application}",
            type=name,
            schema_version=1,
            data=said,
            context=None,
            traceparent=None,
        )
        answer = OutgoingCommand(
            to=asked.to, id=answer_id, body=body, correlation_id=asked.correlation_id
        )
        while True:
            try:
                await broker.send_command(answer)
            except Exception as error:
                if not (is_transient(error) or isinstance(error, OSError)):
                    raise
                if current_time() >= deadline:
                    logger.warning("an answer to %s could not be sent: %s", asked.to, error)
                    return False
                await sleep(PAUSE_SECONDS)
            else:
                return True


def _asking(message: ReceivedMessage) -> Asking:
    try:
        return msgspec.json.decode(message.body, type=Asking)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Asking()
