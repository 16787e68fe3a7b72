"""The extension "brokers": events go out, commands come in. RabbitMQ and Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from aftercommit.process.extension import Extension

if TYPE_CHECKING:
    import click

    from aftercommit.extensions.brokers.settings import BrokerSettings
    from aftercommit.ports import Publisher
    from aftercommit.settings import EngineSettings


class BrokersExtension(Extension):
    """What it brings to the program."""

    name = "brokers"
    commands = {
        "Run": {
            "consume": "Execute commands that come from message brokers.",
            "run": "Do what worker and consume do, in one process.",
        },
        "Inspect": {"asyncapi": "Print the AsyncAPI document of all public messages."},
    }
    options = {
        "--broker-urls": "amqp://user:password@host or kafka://host:port,host:port; several, "
        "separated by spaces, are allowed. Public events go to each of them."
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
