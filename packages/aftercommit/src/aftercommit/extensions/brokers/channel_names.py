"""The queues and topics of an application, named after it, so that applications share a broker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Start = Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class Channels:
    """The names on a broker that belong to one application."""

    application: str
    """Also the group of Kafka's consumers, and the first word of the headers of dead letters."""

    @property
    def events(self) -> str:
        """The exchange, or topic, for events."""
        return f"{self.application}.events"

    @property
    def commands(self) -> str:
        """The queue, or topic, for commands."""
        return f"{self.application}.commands"

    @property
    def dead_letters(self) -> str:
        """The queue, or topic, of commands that cannot be handled."""
        return f"{self.commands}.dead"

    @property
    def inlet(self) -> "Inlet":
        """The inlet for commands."""
        return Inlet(
            queue=self.commands,
            topic=self.commands,
            group=self.application,
            dead_letters=self.dead_letters,
        )

    def header(self, name: str) -> str:
        """Return the name of a header that is added to a dead letter."""
        return f"{self.application}-{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlet:
    """Where messages come in: from a queue of RabbitMQ, from a topic of Kafka, or from either.

    A queue with an `exchange` is bound to it; the exchange belongs to another service. If
    `in_order`, only one consumer of all takes the messages, one after the other.
    """

    queue: str | None
    topic: str | None
    group: str
    dead_letters: str
    exchange: str | None = None
    routing_keys: Sequence[str] = ()
    start: Start = "earliest"
    in_order: bool = False
