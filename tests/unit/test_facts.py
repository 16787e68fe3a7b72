"""What observers are told, apart from the bus: who may stop the program, and what is no call."""

from types import SimpleNamespace

import pytest

from allocation.service_layer.facts import Ended, Fact, OutsideCall, observed, tell


def test_ctrl_c_is_not_kept_by_an_observer() -> None:
    """It comes whenever it comes, and somebody waits for the program to end."""

    def interrupted(fact: Fact) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell([interrupted], Ended(OutsideCall("notifications", "send"), None))


def test_what_is_no_call_to_the_world_outside_is_as_it_was() -> None:
    """A port may say something about itself; nobody is told of that."""
    told: list[Fact] = []

    assert (
        observed([told.append], "notifications", SimpleNamespace(name="a folder")).name
        == "a folder"
    )
    assert told == []
