"""Limits of an outbox: of handlers made in both ways, in a worker and in a test's own session."""

import anyio
import pytest
from aftercommit import Limited

from aftercommit_tests.outbox.orders import OrderPlaced, open_shop, until
from aftercommit_tests.outbox.test_def_handlers_contract import reserve_in_thread

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

ORDERS = 5


async def test_a_worker_keeps_limits_of_both_kinds_of_handlers(
    empty_url: str, anyio_backend: str
) -> None:
    """One of a kind at a time, although there is room for more; each goes on when one has ended."""
    running, most = 0, 0

    async def call(event: OrderPlaced) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1

    handlers = Limited(call, at_once=1), Limited(reserve_in_thread, at_once=1, per_minute=600)
    async with open_shop(empty_url, anyio_backend, *handlers) as shop, shop.outbox.running():
        for number in range(1, ORDERS + 1):
            await shop.order(number)
        await until(shop.is_done)

        assert most == 1
        assert await shop.reserved() == [1] * ORDERS
        assert await shop.last_error() == ""


async def test_a_test_that_delivers_in_its_session_meets_no_limit(
    empty_url: str, anyio_backend: str
) -> None:
    """One runs after the other there; a rate would let the test wait for a minute."""
    told = list[int]()

    async def call(event: OrderPlaced) -> None:
        told.append(event.order_id)

    limited = Limited(call, at_once=1, per_minute=1)
    async with open_shop(empty_url, anyio_backend, limited) as shop:
        async with shop.outbox.running():
            pass  # it makes the tables
        async with shop.session() as session:
            for number in range(1, ORDERS + 1):
                await shop.place(session, number)

            assert await shop.outbox.deliver(session) == ORDERS

    assert sorted(told) == [*range(1, ORDERS + 1)]
