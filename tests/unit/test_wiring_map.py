"""The map of what handles what is true: it is compared with what the program does."""

import pytest

from allocation.domain.commands import ChangeEmail
from allocation.service_layer.handlers import HANDLERS as TABLE
from tests.builders import CODEC, FakeApplication, a_batch, a_redemption, a_registration
from tests.wiring_map import ONCE, nodes


@pytest.fixture
def drawn() -> set[tuple[str, type]]:
    """The handlers, and the events that they cause, as the map has them."""
    return {(name, event) for name, node in nodes().items() for event in node.causes}


@pytest.mark.anyio
async def test_what_happens_is_in_the_map(drawn: set[tuple[str, type]]) -> None:
    """Which event a handler causes is read from the source, so that the source is tried, too."""
    application, ivan = FakeApplication(), a_registration(email="ivan@example.com")
    await application.bus.handle(ivan)
    await application.bus.handle(ChangeEmail(user_id=ivan.user_id, new_email="ivan@example.org"))

    happened = what_happened(application)

    names = {event.__name__ for _, event in happened}
    assert {"UserRegistered", "EmailChanged"} <= names
    assert happened <= drawn


@pytest.mark.anyio
async def test_what_happens_to_coupons_is_in_the_map(drawn: set[tuple[str, type]]) -> None:
    """One is allocated and redeemed, and the next user gets none."""
    application = FakeApplication()
    for order in (a_batch(quantity=1), a_registration(), a_registration(email="m@example.com")):
        await application.bus.handle(order)
    [coupon] = application.database.coupons.values()
    await application.bus.handle(a_redemption(coupon.code.value))

    happened = what_happened(application)

    assert len(happened) == 5
    assert happened <= drawn


def what_happened(application: FakeApplication) -> set[tuple[str, type]]:
    """Return which handler, or which command, has caused which event."""
    accepted = {envelope.id: envelope.message for envelope in application.database.commands}
    return {
        (
            envelope.context.handler
            or CODEC.name_of(type(accepted[envelope.context.causation_id])),
            type(envelope.event),
        )
        for _, envelope in application.database.events.values()
    }


def test_the_promise_of_each_handler_is_that_of_the_bus() -> None:
    """It is read in the signature: there, and in the map."""
    handlers = TABLE.publishing_to({}).events
    application = FakeApplication(command_handlers=TABLE.commands, event_handlers=handlers)
    registry = application.bus.registry
    bound = [*registry.commands.values(), *registry.events.values()]

    once = {handler.name for handler in bound if handler.is_transactional}

    assert once == {name for name, node in nodes().items() if node.promise == ONCE}


def test_whoever_may_repeat_an_effect_outside_has_a_key_to_it() -> None:
    """Without one, nobody could tell a repetition."""
    assert [name for name, node in nodes().items() if "nothing" in node.promise] == []
    assert all(node.effects for node in nodes().values() if node.promise != ONCE)
