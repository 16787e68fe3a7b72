"""The wiring of this application: what its tables name can be stored."""

from dataclasses import dataclass

import pytest
from aftercommit import Codec
from aftercommit.errors import WiringError

from allocation.domain.events import Event


class Money:
    """Nothing that JSON could hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded(Event):
    """An event with a field that cannot be stored."""

    amount: Money


class Forgotten(Event):
    """Somebody forgot to make it a dataclass."""

    amount: int


@pytest.mark.parametrize(
    ("message_type", "reason"),
    [(Refunded, "JSON cannot hold.*Money"), (Forgotten, "a dataclass, unlike: Forgotten")],
)
def test_a_message_that_cannot_be_stored_is_found(message_type: type[Event], reason: str) -> None:
    """At start, and not at the first commit, when a user waits."""
    with pytest.raises(WiringError, match=f"(?s){reason}"):
        Codec(source="/allocation", events=[message_type])
