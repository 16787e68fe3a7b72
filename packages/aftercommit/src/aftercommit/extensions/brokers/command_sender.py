"""The port by which a handler sends a command to another service.

It sends with connections of its own, so that a command that a broker refuses holds up no event.
"""

from aftercommit.claims import IdempotencyKey
from aftercommit.envelopes import current_context, current_traceparent
from aftercommit.extensions.brokers.base import Broker, OutgoingCommand
from aftercommit.extensions.brokers.broker_factory import new_brokers
from aftercommit.extensions.brokers.channel_names import Channels
from aftercommit.extensions.brokers.cloud_events import to_command
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.settings import EngineSettings


class CommandSender:
    """Sends commands to other services, by the first of the brokers in the settings.

    Handlers ask for it by the name `command_sender`. An application that has a port in words of its
    own, with an adapter that uses this, keeps the names of the other service out of its handlers.

    >>> from aftercommit import IdempotencyKey
    >>> from aftercommit.extensions.brokers.command_sender import CommandSender
    >>> from shop.domain.messages import OrderCancelled
    >>> async def refund(
    ...     event: OrderCancelled, command_sender: CommandSender, idempotency_key: IdempotencyKey
    ... ) -> None:
    ...     data = {"order": event.order_id}
    ...     await command_sender.send(
    ...         "payments", "refund_order", data, idempotency_key=idempotency_key
    ...     )
    """

    def __init__(self, broker: Broker, source: str) -> None:
        self._broker, self._source = broker, source

    async def send(
        self,
        service: str,
        name: str,
        data: object,
        *,
        idempotency_key: IdempotencyKey,
        schema_version: int = 1,
    ) -> None:
        """Return when the broker has confirmed a command for the queue or topic `SERVICE.commands`.

        `name` is that of the command on the wire, `data` has its fields: anything that msgspec
        writes as JSON. The message is a CloudEvent whose source is `/` and the name of this
        application. The idempotency key is its id, by which the other service recognizes a
        repetition, so a handler sends one command to a service. It belongs to the trace of the
        event that is handled.

        :raises Unavailable: if the broker is down, or there is no such queue or topic yet
        :raises MessageTooLarge: if it is longer than services accept
        :raises OSError: if the broker refuses it, or does not confirm it in a few seconds
        """
        context = current_context.get()
        traceparent = current_traceparent.get() or (context.traceparent if context else None)
        body = to_command(
            id=idempotency_key,
            source=self._source,
            type=name,
            schema_version=schema_version,
            data=data,
            context=context,
            traceparent=traceparent,
        )
        await self._broker.send_command(
            OutgoingCommand(
                to=Channels(service).commands,
                id=idempotency_key,
                body=body,
                traceparent=traceparent,
            )
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._broker.close()


def command_sender(settings: EngineSettings) -> CommandSender:
    """Return the sender of an application, which connects when it first sends.

    :raises InvalidValue: if a URL is not acceptable
    """
    application = settings.application
    brokers = new_brokers(settings.of(BrokerSettings).urls, Channels(application))
    return CommandSender(next(iter(brokers.values())), source=f"/{application}")
