"""The extension "brokers": publishes events, receives and sends commands. RabbitMQ and Kafka."""

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
    """Publishes events to message brokers, and takes commands from them.

    `messages` names a module of the application, which is imported when it is needed. It may define
    `ACCEPTED_FROM_BROKERS`, the commands that others may send; `SUBSCRIPTIONS`, what other services
    publish and which command follows (see `subscriptions.py`); and `EXAMPLE_VALUES`, by the name of
    the field, for the messages in the AsyncAPI document; a field of type UUID does without. There,
    `subject` is that of every event, `message_name.subject` that of one event type. Without a
    module, events are published, and nothing is consumed. Handlers may ask for `command_sender`:
    see `command_sender.py`.

    >>> from aftercommit.extensions.brokers import BrokersExtension
    >>> [*BrokersExtension("shop.entrypoints.broker_messages").parts().options]
    ['--broker-urls']
    """

    def __init__(self, messages: str | None = None) -> None:
        self.messages = messages

    @property
    def accepted(self) -> Sequence[type[Any]]:
        """The commands that other services may send."""
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
        raise_if_any("two subscriptions have the same name", twice)
        return rows

    @property
    def example_values(self) -> Mapping[str, Any]:
        """The values of fields in examples."""
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
                        "Run worker and consume in one process."
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
                " kafkas://user:password@host:port,host:port; separate several by spaces."
                " Public events go to each of them."
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
    """Return the port, or None: handlers that ask for it run only where there is a broker."""
    if not _wanted(settings).urls:
        return None
    from aftercommit.extensions.brokers.command_sender import command_sender

    return command_sender(settings)


def _services(settings: EngineSettings) -> Sequence[Service]:
    if not _wanted(settings).urls:
        return ()
    from aftercommit.extensions.brokers.connect_at_start import connect_publishers

    return [connect_publishers]
