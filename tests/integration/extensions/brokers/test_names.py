"""Two applications on one broker: neither gets a message of the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.brokers.base import Broker, InboundMessage
from aftercommit.extensions.brokers.broker_factory import new_brokers
from aftercommit.extensions.brokers.channels import Channels
from anyio import fail_after, to_thread

from tests.builders import a_user_message, a_user_registered, an_envelope
from tests.integration.extensions.brokers.outside import DEAD, RabbitOutside

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

SHOP = Channels("shop")


@asynccontextmanager
async def broker_of(channels: Channels, url: str) -> AsyncIterator[Broker]:
    (broker,) = new_brokers([url], channels).values()
    try:
        yield broker
    finally:
        await broker.close()


@pytest.fixture
async def shop(rabbitmq: RabbitOutside) -> AsyncIterator[Broker]:
    """The broker as another application sees it, whose queues are gone afterwards."""
    async with broker_of(SHOP, rabbitmq.url) as broker:
        yield broker
    for name in (SHOP.commands, SHOP.dead_letters):
        await to_thread.run_sync(rabbitmq.delete_queue, name)


async def test_two_applications_share_a_broker_and_no_message(
    rabbitmq: RabbitOutside, shop: Broker
) -> None:
    """A command goes to whom it was sent; what is published or dead-lettered stays apart, too."""
    command = a_user_message()
    async with (
        broker_of(Channels("allocation"), rabbitmq.url) as ours,
        shop.consume(1),
        ours.consume(1) as commands,
    ):
        await to_thread.run_sync(rabbitmq.send, command)
        with fail_after(60):
            message: InboundMessage = await anext(commands)
        assert message.body == command
        await shop.dead_letter(message, InvalidPayload("a command", "no JSON"))
        await message.ack()

        await shop.publish(an_envelope(a_user_registered()))
        published = an_envelope(a_user_registered())
        await ours.publish(published)

    assert await to_thread.run_sync(rabbitmq.count, SHOP.commands) == 0
    assert await to_thread.run_sync(rabbitmq.count, SHOP.dead_letters) == 1
    assert await to_thread.run_sync(rabbitmq.count, DEAD) == 0
    [seen] = await to_thread.run_sync(rabbitmq.events, lambda seen: len(seen) > 0)
    assert str(published.id).encode() in seen.body
