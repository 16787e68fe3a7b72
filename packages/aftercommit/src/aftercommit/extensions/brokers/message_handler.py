"""What is done with each message from a broker: four steps, none of which changes an earlier one.

A message is acknowledged after the commit of its command. If the acknowledgement is lost, the
message arrives again, and is recognized by its id and source. In between, the command's events are
dispatched, for which no message waits, and its sender is answered.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count

from anyio import Event, move_on_after
from anyio.abc import TaskGroup

from aftercommit.bus import MessageBus
from aftercommit.claims import Committed
from aftercommit.deliveries.inbox import AcceptedCommand
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import MessageAlreadyHandled, is_permanent, kind_of
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.brokers.answers_to_senders import Answers
from aftercommit.extensions.brokers.base import (
    Broker,
    ReceivedMessage,
    describe,
    one_line,
    reject_spurious_cancellation,
)
from aftercommit.extensions.brokers.channel_names import Inlet
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    MessageIdReused,
    NotDecoded,
)
from aftercommit.handler_containment import in_own_task
from aftercommit.observers import MessageOutcome

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The messages of one inlet, and what each means: a command, or nothing.

    A pause is stored by the name `source`; our own commands have none, and are never paused.
    """

    inlet: Inlet
    read: Callable[[ReceivedMessage], tuple[object, MessageOrigin] | None]
    source: str | None = None

    def at(self, broker: Broker) -> str:
        """Return what is consumed at a broker, for logs."""
        return broker.kind if self.source is None else f"{broker.kind} ({self.source})"


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a message has come to: what it committed, or why it is a dead letter."""

    committed: Committed
    acknowledge: Callable[[], Awaitable[None]]
    refusal: Exception | None = None


@dataclass(eq=False)
class MessageHandler:
    """Handles messages; many at the same time."""

    bus: MessageBus
    find_accepted: Callable[[str, str | None], Awaitable[AcceptedCommand | None]]
    dispatch: BoundedDispatch
    answers: Answers
    max_attempts: int
    first_pause: float = FIRST_PAUSE_SECONDS

    async def handle(
        self,
        broker: Broker,
        intake: Intake,
        message: ReceivedMessage,
        over: Event,
        dispatches: TaskGroup,
    ) -> None:
        """Take four steps, none of which repeats or changes an earlier one, however long it takes.

        The message has an effect that is committed, or becomes a dead letter; its deliveries are
        dispatched; its sender is answered, within some seconds; it is acknowledged. A process that
        dies in between gets the message again, and recognizes it.
        """
        taken = await self._take_effect(broker, intake, message, over)
        if taken is None:  # it is left, and will arrive again
            return
        if taken.committed.claims:
            dispatches.start_soon(in_own_task, self.dispatch.dispatch, taken.committed)
        asked = self.answers.asked(message) if intake.source is None else None
        if asked is not None and not await self.answers.send(broker, asked, taken.refusal):
            self._count(intake, "unanswered")
        await _acknowledge(taken.acknowledge)

    async def _take_effect(
        self, broker: Broker, intake: Intake, message: ReceivedMessage, over: Event
    ) -> _Taken | None:
        """Execute the command, or make the message a dead letter; None if it is left.

        If the message has to wait and its session is `over`, it is left. All errors but a bug in
        the program are retried without end; a bug would block what follows.
        """
        mistakes: list[Exception] = []
        for failures in count():
            try:
                if len(mistakes) < self.max_attempts:
                    return _Taken(await self._execute_once(intake, message), message.ack)
                return await self._dead_letter(broker, intake, message, mistakes[-1])
            except Exception as raised:
                error = raised
            try:
                if is_permanent(error):
                    return await self._dead_letter(broker, intake, message, error)
            except BrokerUnavailable as unavailable:
                error = unavailable
            if kind_of(error) != "defect":
                logger.warning("a message has to wait: %s", one_line(error))
            else:
                logger.error("a message has to wait", exc_info=error)
                mistakes.append(error)
            await pause(self.first_pause, failures, over)
            if over.is_set():
                return None
        raise AssertionError  # a count has no end

    async def _dead_letter(
        self, broker: Broker, intake: Intake, message: ReceivedMessage, error: Exception
    ) -> _Taken:
        """Make a message a dead letter. If the broker accepts none, it moves the message itself.

        :raises BrokerUnavailable: if the broker accepts none, and cannot move the message itself
        """
        acknowledge, reason, to = message.ack, one_line(error), intake.inlet.dead_letters
        try:
            await broker.dead_letter(message, error, to)
            logger.warning("a message was dead-lettered to %s: %s", to, reason)
        except BrokerUnavailable as refusal:
            if message.reject is None:
                raise
            left = "%s itself dead-letters a message (%s): %s"
            logger.warning(left, broker.kind, refusal, reason)
            acknowledge = message.reject
        self._count(intake, "dead")
        return _Taken(Committed(), acknowledge, error)

    async def _execute_once(self, intake: Intake, message: ReceivedMessage) -> Committed:
        if message.undecodable:  # nobody can say whether it concerns us
            raise NotDecoded(message.undecodable)
        if (read := intake.read(message)) is None:
            self._count(intake, "ignored")
            return Committed()
        command, origin = read
        try:
            committed = await self.bus.execute(command, origin)
            self._count(intake, "executed")
            return committed
        except MessageAlreadyHandled as repeated:
            first = await self.find_accepted(origin.source, origin.id)
            if first is None:  # pruned a moment ago: if it arrives again, it is new
                raise
            if first.fingerprint not in (None, origin.fingerprint):  # None: erased
                raise MessageIdReused(origin.source, origin.id) from None
            logger.info("%s", repeated)
            self._count(intake, "repeated")
            return Committed()

    def _count(self, intake: Intake, outcome: MessageOutcome) -> None:
        self.bus.instrumentation.message(intake.source or "commands", outcome)


async def pause(first: float, failures: int, end: Event) -> None:
    """Wait, longer after each failure, or until an event has happened."""
    with move_on_after(min(LONGEST_PAUSE_SECONDS, first * 2.0 ** min(failures, 10))):
        await end.wait()


async def _acknowledge(ack: Callable[[], Awaitable[None]]) -> None:
    try:
        await reject_spurious_cancellation(ack)
    except Exception as error:
        reason = describe(error)
        logger.warning("a message could not be acknowledged and will arrive again: %s", reason)
