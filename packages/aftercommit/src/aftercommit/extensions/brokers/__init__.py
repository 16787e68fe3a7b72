"""The extension "brokers": events go out, commands come in. RabbitMQ and Kafka."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from aftercommit.extensions.brokers.messages_module import KnowsMessages
from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    import click

    from aftercommit.extensions.brokers.settings import BrokerSettings
    from aftercommit.ports import Publisher
    from aftercommit.process.runtime import Service
    from aftercommit.settings import EngineSettings


class BrokersExtension(KnowsMessages, Extension):
    """What it brings to the program.

    `messages` names a module of the application, which is imported when it is needed: it has
    `ACCEPTED_FROM_BROKERS`, the commands that others may send, and `EXAMPLE_VALUES`, which the
    fields of messages hold in the AsyncAPI document, by the name of the field. There, `subject` is
    that of an event, `message_name.subject` that of one event alone. Without it, events go out, and
    nothing comes in.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.brokers import BrokersExtension
    >>> extensions = Extensions([BrokersExtension("shop.entrypoints.messages")])
    >>> extensions.settings()[0](broker_urls="amqp://localhost").urls
    ['amqp://localhost']
    """

    def __init__(self, messages: str | None = None) -> None:
        self.messages = messages

    name = "brokers"
    commands = {
        "Run": {
            "consume": "Execute commands that come from message brokers.",
            "run": "Do what worker and consume do, in one process.",
        },
        "Inspect": {"asyncapi": "Print the AsyncAPI document of all public messages."},
    }
    options = {
        "--broker-urls": "amqps://user:password@host,host or kafkas://user:password@host:port,"
        "host:port; several, separated by spaces, are allowed. Public events go to each of them."
    }

    def command(self, name: str) -> click.Command:
        from aftercommit.extensions.brokers import cli

        return {"asyncapi": cli.asyncapi, "consume": cli.consume, "run": cli.run}[name]

    def settings(self) -> type:
        from aftercommit.extensions.brokers.settings import BrokerSettings

        return BrokerSettings

    def publishers(
        self, settings: EngineSettings
    ) -> AbstractAsyncContextManager[Mapping[str, Publisher]]:
        wanted: BrokerSettings = settings.of(self.settings())
        if not wanted.urls:
            return nullcontext({})
        from aftercommit.extensions.brokers.broker_factory import publishing

        return publishing(settings)

    def worker_services(self, settings: EngineSettings) -> Sequence[Service]:
        wanted: BrokerSettings = settings.of(self.settings())
        if not wanted.urls:
            return ()
        from aftercommit.extensions.brokers.connecting import connect_publishers

        return [connect_publishers]
