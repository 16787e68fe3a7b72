"""The wiring of this application: what its tables name can be stored, and is answered."""

from dataclasses import dataclass
from typing import get_type_hints

import msgspec
import pytest

from allocation.domain.commands import RecordBounce
from allocation.domain.events import Event
from allocation.service_layer.handlers import HANDLERS


def check_storable(message_type: type) -> None:
    if "__dataclass_fields__" not in vars(message_type):  # its parent's do not count
        raise TypeError("it is not decorated with @dataclass")
    msgspec.json.schema(message_type)
    msgspec.json.Decoder(message_type)
    if "AnyType()" in repr(msgspec.inspect.type_info(message_type)):
        raise TypeError("of a field, or of what is in it, nobody can tell the type")


class Money:
    """Nothing that msgspec could write down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded(Event):
    """An event with a field that cannot be stored."""

    amount: Money


class Forgotten(Event):
    """Somebody forgot to make it a dataclass."""

    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vague(Event):
    """What comes out of the database would be a dict, whatever went in."""

    amounts: list  # type: ignore[type-arg]


@pytest.mark.parametrize(
    ("message_type", "reason"),
    [
        (Refunded, "Money"),
        (Forgotten, "it is not decorated"),
        (Vague, "nobody can tell the type"),
    ],
)
def test_a_message_that_cannot_be_stored_is_found(message_type: type[Event], reason: str) -> None:
    """Here, and not at the first commit, when a user waits."""
    with pytest.raises(TypeError, match=reason):
        check_storable(message_type)


def test_the_messages_of_this_program_can_be_stored() -> None:
    """Every type that the tables name."""
    for message_type in (*HANDLERS.commands, *HANDLERS.events):
        check_storable(message_type)


def test_whoever_writes_to_users_may_return_that_the_address_does_not_exist() -> None:
    """Then mypy finds the `return` that is missing, without which the answer would be lost."""
    hints = {each.__name__: get_type_hints(each) for each in HANDLERS.by_name().values()}
    returned = {name: each["return"] for name, each in hints.items() if "user_mail" in each}

    assert len(returned) > 1
    assert returned == dict.fromkeys(returned, RecordBounce | None)
