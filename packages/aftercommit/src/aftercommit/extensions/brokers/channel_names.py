"""Where the messages of an application are: named after it, so others on the broker have theirs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Channels:
    """The names on a broker that belong to one application."""

    application: str
    """Also the group of Kafka's consumers, and the beginning of what dead letters say."""

    @property
    def events(self) -> str:
        """The exchange, or topic."""
        return f"{self.application}.events"

    @property
    def commands(self) -> str:
        """The queue, or topic."""
        return f"{self.application}.commands"

    @property
    def dead_letters(self) -> str:
        """The queue, or topic, of commands that cannot be handled."""
        return f"{self.commands}.dead"

    def header(self, name: str) -> str:
        """Return the name of a header that is added to a dead letter."""
        return f"{self.application}-{name}"
