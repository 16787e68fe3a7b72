"""The extension "brokers": events go out, commands come in, or go to others. RabbitMQ and Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aftercommit.errors import raise_if_any
from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from aftercommit.extensions.brokers.command_sender import CommandSender
    from aftercommit.extensions.brokers.settings import BrokerSettings
    from aftercommit.extensions.brokers.subscriptions import Subscription
    from aftercommit.ports import Publisher
    from aftercommit.process.running_services import Service
    from aftercommit.settings import EngineSettings


class BrokersExtension(Extension):
    """What it brings to the program.

    `messages` names a module of the application, which is imported when it is needed. It may have:
    `ACCEPTED_FROM_BROKERS`, the commands that others may send; `SUBSCRIPTIONS`, what others publish
    and what becomes of it (see `subscriptions.py`); and `EXAMPLE_VALUES`, which the fields of
    messages hold in the AsyncAPI document, by the name of the field. There, `subject` is that of an
    event, `message_name.subject` that of one event alone. Without a module, events go out, and
    nothing comes in. Handlers may ask for `command_sender`: see `command_sender.py`.

    >>> from aftercommit.extensions.brokers import BrokersExtension
    >>> [*BrokersExtension("shop.entrypoints.broker_messages").parts().options]
    ['--broker-urls']
    """

    def __init__(self, messages: str | None = None) -> None:
        self.messages = messages

    @property
    def accepted(self) -> Sequence[type[Any]]:
        """The commands that others may send."""
        accepted: Sequence[type[Any]] = self._read("ACCEPTED_FROM_BROKERS", ())
        return accepted

    @cached_property
    def subscriptions(self) -> Sequence[Subscription]:
        """What other services publish, and what it means here.

        :raises WiringError: if two have the same name
        """
        rows: Sequence[Subscription] = self._read("SUBSCRIPTIONS", ())
        sources = Counter(name for each in rows for name in {each.name, each.renamed or each.name})
        twice = [name for name, count in sources.items() if count > 1]
        raise_if_any("subscriptions of the same name", twice)
        return rows

    @property
    def example_values(self) -> Mapping[str, Any]:
        """What the fields of messages hold in examples."""
        values: Mapping[str, Any] = self._read("EXAMPLE_VALUES", {})
        return values

    def _read(self, name: str, default: Any) -> Any:
        return getattr(import_module(self.messages), name, default) if self.messages else default

    def parts(self) -> Parts:
        return Parts(
            name="brokers",
            commands={
                "Run": {
                    "aftercommit.extensions.brokers.cli:consume": (
                        "Execute commands that come from message brokers."
                    ),
                    "aftercommit.extensions.brokers.cli:run": (
                        "Do what worker and consume do, in one process."
                    ),
                },
                "Inspect": {
                    "aftercommit.extensions.brokers.cli:asyncapi": (
                        "Print the AsyncAPI document of all public messages."
                    )
                },
            },
            options={
                "--broker-urls": "amqps://user:password@host,host or"
                " kafkas://user:password@host:port,host:port; several, separated by spaces, are"
                " allowed. Public events go to each of them."
            },
            settings="aftercommit.extensions.brokers.settings:BrokerSettings",
            ports={"command_sender": _command_sender},
            publishers=[_publishers],
            subscriptions=lambda: self.subscriptions,
            services=[_services],
        )


def _wanted(settings: EngineSettings) -> BrokerSettings:
    from aftercommit.extensions.brokers.settings import BrokerSettings

    return settings.of(BrokerSettings)


def _publishers(settings: EngineSettings) -> AbstractAsyncContextManager[Mapping[str, Publisher]]:
    if not _wanted(settings).urls:
        return nullcontext({})
    from aftercommit.extensions.brokers.broker_factory import publishing

    return publishing(settings)


def _command_sender(settings: EngineSettings, *, delivers: bool) -> CommandSender | None:
    """Return the port, or None: handlers that ask for it run where there is a broker."""
    if not _wanted(settings).urls:
        return None
    from aftercommit.extensions.brokers.command_sender import command_sender

    return command_sender(settings)


def _services(settings: EngineSettings) -> Sequence[Service]:
    if not _wanted(settings).urls:
        return ()
    from aftercommit.extensions.brokers.connect_at_start import connect_publishers

    return [connect_publishers]
