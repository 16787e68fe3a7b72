"""What observers see, apart from the bus: who may stop the program, and what is no call."""

from types import SimpleNamespace

import pytest
from aftercommit.claims import Claim
from aftercommit.observers import CompositeObserver, ObservedPort, Observer, Operation, Outcome

from tests.builders import a_delivery


class Interrupted(Observer):
    """An observer in which somebody presses Ctrl-C."""

    def port_call(self, port: str, method: str) -> Operation:
        raise AssertionError("nobody has made a call")

    def attempt(self, delivery: Claim, seconds: float) -> Operation:
        raise KeyboardInterrupt

    def finished(self, outcome: Outcome) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_is_not_kept_by_an_observer() -> None:
    """It comes whenever it comes, and somebody waits for the program to end."""
    instrumentation = CompositeObserver([Interrupted()])

    with pytest.raises(KeyboardInterrupt):
        instrumentation.finished(Outcome(a_delivery(), "succeeded"))
    with pytest.raises(KeyboardInterrupt):
        instrumentation.operation(lambda each: each.attempt(a_delivery(), 1.0))


def test_an_observer_may_care_for_nothing() -> None:
    """Each of its methods may be left as it is."""
    instrumentation = CompositeObserver([Observer()])

    with (
        instrumentation.operation(lambda each: each.attempt(a_delivery(), 1.0)),
        instrumentation.operation(lambda each: each.port_call("mail", "send")),
    ):
        pass
    instrumentation.finished(Outcome(a_delivery(), "succeeded"))


def test_what_is_no_call_to_an_external_system_is_as_it_was() -> None:
    """A port may say something about itself; no observer sees that."""
    port = ObservedPort(
        CompositeObserver([Interrupted()]), "notifications", SimpleNamespace(name="a folder")
    )

    assert port.name == "a folder"
