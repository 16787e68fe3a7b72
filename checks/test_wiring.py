"""The wiring of this application: what its tables name can be stored, and is answered."""

from dataclasses import dataclass
from typing import get_type_hints

import pytest
from aftercommit import Codec
from aftercommit.errors import WiringError

from allocation.domain.commands import RecordBounce
from allocation.domain.events import Event
from allocation.service_layer.handlers import HANDLERS


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


def test_whoever_writes_to_users_may_return_that_the_address_does_not_exist() -> None:
    """Then mypy finds the `return` that is missing, without which the answer would be lost."""
    hints = {each.__name__: get_type_hints(each) for each in HANDLERS.by_name().values()}
    returned = {name: each["return"] for name, each in hints.items() if "user_mail" in each}

    assert len(returned) > 1
    assert returned == dict.fromkeys(returned, RecordBounce | None)
