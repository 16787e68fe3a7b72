"""What observers see, apart from the bus: who may stop the program, and what is no call."""

from types import SimpleNamespace

import anyio
import pytest

from allocation.service_layer.delivery_model import Delivery, IdempotencyKey
from allocation.service_layer.emails import Email
from allocation.service_layer.exceptions import NotAwaited
from allocation.service_layer.handler_containment import contain_errors
from allocation.service_layer.instrumentation import (
    Instrumentation,
    InstrumentedPort,
    Observer,
    Operation,
    Outcome,
)
from allocation.service_layer.ports import Notifications
from tests.builders import a_delivery
from tests.fakes import FakeNotifications


class Interrupted(Observer):
    """An observer in which somebody presses Ctrl-C."""

    def port_call(self, port: str, method: str) -> Operation:
        raise AssertionError("nobody has made a call")

    def attempt(self, delivery: Delivery, seconds: float) -> Operation:
        raise KeyboardInterrupt

    def finished(self, outcome: Outcome) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_is_not_kept_by_an_observer() -> None:
    """It comes whenever it comes, and somebody waits for the program to end."""
    instrumentation = Instrumentation([Interrupted()])

    with pytest.raises(KeyboardInterrupt):
        instrumentation.finished(Outcome(a_delivery(), "succeeded"))
    with pytest.raises(KeyboardInterrupt):
        instrumentation.operation(lambda each: each.attempt(a_delivery(), 1.0))


def test_an_observer_may_care_for_nothing() -> None:
    """Each of its methods may be left as it is."""
    instrumentation = Instrumentation([Observer()])

    with (
        instrumentation.operation(lambda each: each.attempt(a_delivery(), 1.0)),
        instrumentation.operation(lambda each: each.port_call("mail", "send")),
    ):
        pass
    instrumentation.finished(Outcome(a_delivery(), "succeeded"))


def test_what_is_no_call_to_an_external_system_is_as_it_was() -> None:
    """A port may say something about itself; no observer sees that."""
    port = InstrumentedPort(
        Instrumentation([Interrupted()]), "notifications", SimpleNamespace(name="a folder")
    )

    assert port.name == "a folder"


async def call(port: Notifications) -> None:
    await port.send(
        Email(recipient="i@example.com", subject="", text=""), idempotency_key=IdempotencyKey("1")
    )


@pytest.mark.anyio
async def test_a_port_is_called_by_no_task_that_its_handler_has_left_behind() -> None:
    """The handler counts as done: nobody would try again. Outside of handlers, all may call."""
    notifications, over = FakeNotifications(), anyio.Event()
    port: Notifications = InstrumentedPort(Instrumentation([]), "notifications", notifications)
    await call(port)

    async def late() -> None:
        await over.wait()
        with pytest.raises(NotAwaited, match="notifications.send"):
            await call(port)

    async with anyio.create_task_group() as group:
        with contain_errors("a handler"):
            group.start_soon(late)
            await anyio.wait_all_tasks_blocked()
        over.set()

    assert len(notifications.sent) == 1
