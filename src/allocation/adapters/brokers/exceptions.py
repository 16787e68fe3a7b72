"""The errors of the room.

Malformed
└── InvalidMessage
└── UnknownCommandType
Unavailable
└── BrokerUnavailable
├── Undeliverable
├── MissingTopic
└── UndecodableMessage
"""

from allocation.adapters.exceptions import InvalidMessage
from allocation.domain.exceptions import Unavailable


class UnknownCommandType(InvalidMessage):
    """No command of this wire name exists in this version of the program."""

    def __init__(self, wire_name: str) -> None:
        super().__init__(f"unknown command type {wire_name!r}")


class BrokerUnavailable(Unavailable):
    """A message broker cannot be reached, or does not confirm what it is sent."""

    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(f"{broker} is not available: {reason}")


class Undeliverable(BrokerUnavailable):
    """The broker does not take this message as it is."""
