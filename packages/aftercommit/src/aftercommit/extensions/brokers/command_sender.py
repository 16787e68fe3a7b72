"""The port through which a handler sends a command to another service.

It has its own connections, so that a command that a broker refuses delays no event.
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
    """Sends commands to other services, through the first of the brokers in the settings.

    Handlers ask for it by the name `command_sender`. To keep the other service's names out of the
    handlers, define a port in the application's own words, with an adapter that uses this one.

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

        `name` is the command's name on the wire, `data` holds its fields: anything that msgspec
        writes as JSON. The message is a CloudEvent whose source is `/` and the name of this
        application. Its id is the idempotency key, by which the other service recognizes a
        repetition; so let a handler send only one command to a service. It belongs to the trace of
        the handled event.

        :raises Unavailable: if the broker is down, or if the queue or topic does not exist yet
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
        """Close the sender's connections."""
        await self._broker.close()


def command_sender(settings: EngineSettings) -> CommandSender:
    """Return an application's sender, which connects when it first sends.

    :raises InvalidValue: if a URL is wrong
    """
    application = settings.application
    brokers = new_brokers(settings.of(BrokerSettings).urls, Channels(application))
    return CommandSender(next(iter(brokers.values())), source=f"/{application}")
