"""The map of what handles what is true: it is compared with what the program does."""

import pytest

from allocation.adapters.wire import wire_name
from allocation.domain.commands import ChangeEmail
from tests.builders import FakeApplication, a_batch, a_registration
from tests.wiring_map import ONCE, nodes

DRAWN = {(name, event) for name, node in nodes().items() for event in node.causes}


@pytest.mark.anyio
async def test_what_happens_is_in_the_map() -> None:
    """Which event a handler causes is read from the source, so that the source is tried, too."""
    application, ivan = FakeApplication(), a_registration(email="ivan@example.com")
    orders = [
        a_batch(quantity=1),
        ivan,
        a_registration(email="maria@example.com"),
        ChangeEmail(user_id=ivan.user_id, new_email="ivan@example.org"),
    ]

    for order in orders:
        await application.bus.handle(order)

    accepted = {envelope.id: envelope.command for envelope in application.database.commands}
    happened = {
        (
            envelope.context.handler or wire_name(type(accepted[envelope.context.causation_id])),
            type(envelope.event),
        )
        for _, envelope in application.database.events.values()
    }
    assert len(happened) == 5
    assert happened <= DRAWN


def test_the_promise_of_each_handler_is_that_of_the_bus() -> None:
    """It is read in the signature: there, and in the map."""
    registry = FakeApplication().bus.registry
    bound = [*registry.commands.values(), *registry.events.values()]

    once = {handler.name for handler in bound if handler.has_uow}

    assert once == {name for name, node in nodes().items() if node.promise == ONCE}


def test_whoever_may_repeat_an_effect_outside_has_a_key_to_it() -> None:
    """Without one, nobody could tell a repetition."""
    assert [name for name, node in nodes().items() if "nothing" in node.promise] == []
    assert all(node.effects for node in nodes().values() if node.promise != ONCE)
