"""What happens instead of the handlers of an outbox: in a worker, and in a test's own session."""

from datetime import timedelta
from typing import Any, cast

import pytest
from aftercommit import GivenUp, Otherwise, Refused
from aftercommit.errors import WiringError
from sqlalchemy import Update, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aftercommit_tests.outbox.orders import Order, OrderPlaced, Shop, open_shop, until

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]


async def charge(event: OrderPlaced) -> None:
    """Be refused by the bank."""
    raise Refused("the card")


async def charge_in_session(event: OrderPlaced, session: AsyncSession) -> None:
    """Be refused after a change."""
    (await session.get_one(Order, event.order_id)).reserved += 1000
    await session.flush()
    raise Refused("the card")


def less(order: int, number: int) -> Update:
    """Return the statement that reserves less, whoever else does so at the same time."""
    return update(Order).where(Order.id == order).values(reserved=Order.reserved - number)


async def give_up(event: OrderPlaced, failure: GivenUp, session: AsyncSession) -> None:
    """Write down after how many attempts."""
    await session.execute(less(event.order_id, failure.attempts))


def give_up_in_thread(event: OrderPlaced, failure: GivenUp, session: Any) -> None:
    """Do the same in synchronous code."""
    session.execute(less(event.order_id, 10 * failure.attempts))


async def place_one(shop: Shop, session: AsyncSession) -> None:
    """Place an order, with the tables that a worker makes."""
    async with shop.outbox.running():
        pass
    await shop.place(session, 1)


async def test_a_worker_gives_up_handlers_of_both_kinds(empty_url: str, anyio_backend: str) -> None:
    """The session of the failed handler was rolled back; why it failed is still known."""
    both = Otherwise(charge, give_up), Otherwise(charge_in_session, give_up_in_thread)
    async with open_shop(empty_url, anyio_backend, *both) as shop, shop.outbox.running():
        await shop.order(1)
        await until(shop.is_done)

        assert await shop.reserved() == [-11]
        assert await shop.last_error() == "Refused: the card Refused: the card"


async def test_a_test_lets_a_handler_be_given_up(empty_url: str, anyio_backend: str) -> None:
    """In one line, and without an attempt of the handler, whose error would be raised."""
    entry = Otherwise(charge, give_up)
    async with open_shop(empty_url, anyio_backend, entry) as shop, shop.session() as session:
        await place_one(shop, session)

        assert await shop.outbox.deliver(session, giving_up={"charge": "attempts"}) == 1
        assert await shop.outbox.deliver(session, giving_up={"charge": "attempts"}) == 0

        assert await session.scalar(select(Order.reserved)) == -1


async def test_a_test_may_be_too_late_for_a_handler(empty_url: str, anyio_backend: str) -> None:
    """As a worker would be, which comes after that time."""
    at_once = Otherwise(charge, give_up, within=timedelta())
    async with open_shop(empty_url, anyio_backend, at_once) as shop, shop.session() as session:
        await place_one(shop, session)

        assert await shop.outbox.deliver(session) == 1

        assert await session.scalar(select(Order.reserved)) == 0  # after no attempt


async def test_only_what_has_an_otherwise_is_given_up(empty_url: str, anyio_backend: str) -> None:
    """A misspelt name would let the handler run."""
    entry = Otherwise(charge, give_up)
    async with open_shop(empty_url, anyio_backend, entry) as shop, shop.session() as session:
        await place_one(shop, session)

        with pytest.raises(WiringError, match="Not so: charge_card"):
            await shop.outbox.deliver(session, giving_up={"charge_card": "refused"})


async def note_reason(event: OrderPlaced, failure: GivenUp, session: AsyncSession) -> None:
    """Write down whether it is certain that nothing was charged."""
    reserved = 100 if failure.reason == "refused" else 200
    await session.execute(update(Order).where(Order.id == event.order_id).values(reserved=reserved))


async def test_a_test_says_for_what_reason(empty_url: str, anyio_backend: str) -> None:
    """Only after a refusal, it is certain that the handler had no effect."""
    entry = Otherwise(charge, note_reason)
    async with open_shop(empty_url, anyio_backend, entry) as shop, shop.session() as session:
        await place_one(shop, session)

        assert await shop.outbox.deliver(session, giving_up={"charge": "refused"}) == 1

        assert await session.scalar(select(Order.reserved)) == 100
        with pytest.raises(WiringError, match="refused, attempts.*not for: refusal"):
            await shop.outbox.deliver(session, giving_up={"charge": cast("Any", "refusal")})


async def test_a_test_lets_the_time_of_a_handler_end(empty_url: str, anyio_backend: str) -> None:
    """In one line, as a test of an application does with the kit."""
    entry = Otherwise(charge, note_reason, within=timedelta(hours=1))
    async with open_shop(empty_url, anyio_backend, entry) as shop, shop.session() as session:
        await place_one(shop, session)

        assert await shop.outbox.deliver(session, after=timedelta(hours=1)) == 1

        assert await session.scalar(select(Order.reserved)) == 200
