"""Makes envelopes for the events that aggregates have recorded, and for commands."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from aftercommit.claims import Claim, CommandWork, NewDelivery
from aftercommit.codec import Codec
from aftercommit.envelopes import (
    Envelope,
    EventId,
    HandlerSubscription,
    MessageContext,
    MessageOrigin,
    current_traceparent,
)
from aftercommit.errors import CausationTooDeep, InvalidPayload

MAX_DEPTH = 100  # events that may cause each other in a row: more count as a cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeFactory:
    """Puts messages into envelopes, and knows who subscribes to which event.

    :raises WiringError: if a handler subscribes to an event that the codec does not know

    >>> import datetime, uuid
    >>> from aftercommit import EnvelopeFactory
    >>> from shop.bootstrap import CODEC
    >>> from shop.entrypoints.app import APP
    >>> envelopes = EnvelopeFactory(
    ...     codec=CODEC,
    ...     subscriptions=APP.handlers().subscriptions(APP.load({})),
    ...     new_id=uuid.uuid4,
    ...     now=lambda: datetime.datetime.now(datetime.UTC),
    ... )
    """

    codec: Codec[object]
    subscriptions: Mapping[type[Any], Mapping[str, HandlerSubscription]]
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]

    def __post_init__(self) -> None:
        self.codec.require(*self.subscriptions)

    def of_command(
        self, command: object, origin: MessageOrigin, completes: Claim | None = None
    ) -> CommandWork:
        """Return a command in an envelope, with a new id."""
        name = self.codec.name_of(type(command))
        return CommandWork(
            id=self.new_id(), type=name, message=command, origin=origin, completes=completes
        )

    def of_events(
        self, recorded: Iterable[tuple[object, str]], context: MessageContext
    ) -> tuple[list[Envelope], list[NewDelivery]]:
        """Return envelopes for events and their subjects, and the deliveries of these events.

        :raises InvalidPayload: if the key by which a handler is ordered is None for an event
        :raises CausationTooDeep: if a chain of `MAX_DEPTH` events led to them
        """
        context = replace(context, traceparent=current_traceparent.get() or context.traceparent)
        envelopes, new = list[Envelope](), list[NewDelivery]()
        for event, subject in recorded:
            if context.depth > MAX_DEPTH:
                raise CausationTooDeep(type(event).__name__, context.depth)
            if type(event) not in self.codec.written:
                self.codec.require(type(event))  # it raises
            name, version = self.codec.written[type(event)]
            envelope = Envelope(
                id=EventId(self.new_id()),
                source=self.codec.source,
                type=name,
                schema_version=version,
                event=event,
                subject=subject,
                time=self.now(),
                context=context,
            )
            envelopes.append(envelope)
            for handler, subscription in self.subscriptions.get(type(event), {}).items():
                lane = None
                if subscription.lane:
                    if subscription.key and subscription.key(event) is None:
                        reason = f"its key is None, which {handler} needs for its order"
                        raise InvalidPayload(name, reason)
                    lane = subscription.lane_of(event, subject)
                due = subscription.delay, lane, subscription.within
                new.append(NewDelivery(envelope, handler, *due))
        return envelopes, new
