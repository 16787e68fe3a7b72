"""Answers: tell the sender of a command what became of it, if its message says where to.

A refused command becomes a dead letter, which its sender does not see. So a message can name a
queue or topic for an answer, in the attribute `replyto` of a CloudEvent, in AMQP's property
`reply_to`, or in the header `reply-to`. The answer is sent before the message is acknowledged, so
it is sent at least once; unless it cannot be sent in some seconds, which is logged and counted.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from uuid import uuid4

import msgspec
from anyio import current_time, move_on_after, sleep

from aftercommit.envelopes import EventId
from aftercommit.errors import is_transient, kind_of
from aftercommit.extensions.brokers.base import (
    MAX_TARGET_BYTES,
    Broker,
    OutgoingCommand,
    ReceivedMessage,
    describe,
    in_short,
    one_line,
    reason_of,
    text_of,
)
from aftercommit.extensions.brokers.cloud_events import MAX_BYTES, MAX_MESSAGE_BYTES, to_command
from aftercommit.extensions.brokers.exceptions import MessageRefusedError

ANSWER_SECONDS = 10.0  # how long an answer is tried; then the message is acknowledged without it
PAUSE_SECONDS = 0.5
MISSING_SECONDS = 60.0  # for so long, answers to where one could not be sent are tried only once
MAX_MISSING = 1_000  # of these targets are remembered
MAX_EVENTS = 1_000  # are listed in an answer: about 40 kB
PUBLIC = "invalid", "refused"  # kinds of errors whose texts are written for the sender

logger = logging.getLogger(__name__)


class Asking(msgspec.Struct):
    """What is read from a message to answer it, whatever else the message contains."""

    id: str | None = None
    source: str | None = None
    replyto: str | None = None


class CommandAccepted(msgspec.Struct):
    """The command with this id, of this source, was executed, now or before.

    It caused these events, and so many `more` that do not fit into the answer.
    """

    command: str | None
    command_source: str | None
    events: Sequence[EventId]
    more: int = 0


class CommandRefused(msgspec.Struct):
    """The command was refused for good: `error` is a stable name, `reason` a sentence.

    After a bug, the sentence only says where to look.
    """

    command: str | None
    command_source: str | None
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an answer: where the answer goes, and which message it is about."""

    to: str
    source: str | None
    message_id: str | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class Answers:
    """Sends answers to queues and topics whose names match one of the `allowed` patterns."""

    application: str
    allowed: Collection[str]
    find_events: Callable[[str, str | None], Awaitable[Sequence[EventId]]]
    _missing: dict[str, float] = field(default_factory=dict)  # until when it is tried once

    def asked(self, message: ReceivedMessage) -> Asked | None:
        """Return where a message wants its answer; None if it wants none, or may not."""
        body, said = _asking(message), message.properties
        to = said.get("reply_to") or text_of(message.headers.get("reply-to") or "") or body.replyto
        if not to:
            return None
        if not any(fnmatchcase(to, pattern) for pattern in self.allowed):
            shown = in_short(to)
            logger.warning("a message wants an answer to %r, which answer_to does not allow", shown)
            return None
        correlation_id = str(said.get("correlation_id") or body.id or "")
        fits = 0 < len(correlation_id.encode(errors="replace")) <= MAX_TARGET_BYTES  # AMQP's limit
        return Asked(to, body.source, body.id, correlation_id if fits else None)

    async def send(self, broker: Broker, asked: Asked, refusal: Exception | None) -> bool:
        """Tell the sender what became of a command; return whether the answer has arrived.

        It is refused for good with this error, or else accepted: then the events that it caused are
        read from the database, so a repetition gets the same answer. This takes some seconds at
        most, and raises nothing: the command was executed, or is a dead letter, in any case.
        """
        problem, answer_id = "nothing answers", str(uuid4())
        if refusal is not None and kind_of(refusal) not in PUBLIC:
            logger.error("answer %s tells of a bug: %s", answer_id, one_line(refusal))
        once = self._missing.get(asked.to, 0.0) > current_time()
        with move_on_after(ANSWER_SECONDS):
            while True:
                try:
                    await broker.send_command(await self._answer(answer_id, asked, refusal))
                except Exception as error:
                    problem = in_short(describe(error))
                    may_heal = is_transient(error) or isinstance(error, OSError)
                    if isinstance(error, MessageRefusedError):  # nothing can have that name
                        return self._lost(asked, problem)
                    if once or not may_heal:
                        break
                    await sleep(PAUSE_SECONDS)
                else:
                    self._missing.pop(asked.to, None)
                    return True
        while len(self._missing) >= MAX_MISSING:
            self._missing.pop(next(iter(self._missing)))
        self._missing[asked.to] = current_time() + MISSING_SECONDS
        return self._lost(asked, problem)

    def _lost(self, asked: Asked, problem: str) -> bool:
        logger.warning("an answer to %s could not be sent: %s", in_short(asked.to), problem)
        return False

    async def _answer(
        self, answer_id: str, asked: Asked, refusal: Exception | None
    ) -> OutgoingCommand:
        said: CommandAccepted | CommandRefused
        about = _if_short(asked.message_id), _if_short(asked.source)
        if refusal is None:
            events = await self.find_events(asked.source or "", asked.message_id)
            more = max(0, len(events) - MAX_EVENTS)
            said = CommandAccepted(*about, events[:MAX_EVENTS], more)
        else:
            error, reason = reason_of(refusal)
            if kind_of(refusal) not in PUBLIC:  # its text may quote what is stored
                reason = (
                    f"the log of /{self.application} has the reason, under the id of this answer"
                )
            said = CommandRefused(*about, error, reason)
        body = to_command(
            id=answer_id,
            source=f"/{self.application}",
            type="command_accepted" if refusal is None else "command_refused",
            schema_version=1,
            data=said,
            context=None,
            traceparent=None,
        )
        return OutgoingCommand(
            to=asked.to, id=answer_id, body=body, correlation_id=asked.correlation_id
        )


def _if_short(text: str | None) -> str | None:
    """Return an id or a source; None if it is longer than any command's, which is refused."""
    return text if text and len(text.encode(errors="replace")) <= MAX_BYTES else None


def _asking(message: ReceivedMessage) -> Asking:
    if len(message.body) > MAX_MESSAGE_BYTES:  # it is refused, and not read
        return Asking()
    try:
        return msgspec.json.decode(message.body, type=Asking)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Asking()
