"""The handlers, called directly: what they change, and what they record.

`tests/integration/test_use_cases.py` tests what follows from a command, on the bus and a database.
"""

from uuid import UUID, uuid4

import pytest
from aftercommit import IdempotencyKey

from shop.domain import messages, orders
from shop.service_layer import handlers

from tests.conftest import SentEmails
from tests.statistics_contract import count_some
from tests.unit.memory import MemoryStatistics, MemoryUnitOfWork

pytestmark = pytest.mark.anyio

KEY = IdempotencyKey("of this delivery")
EMAIL = "ivan@example.com"


def a_command(order_id: UUID | None = None, pieces: int = 2) -> messages.PlaceOrder:
    return messages.PlaceOrder(order_id=order_id or uuid4(), email=EMAIL, articles={"lamp": pieces})


def an_order() -> orders.Order:
    return orders.Order.place(uuid4(), EMAIL, {"lamp": 2})


def placed(order: orders.Order) -> messages.OrderPlaced:
    return messages.OrderPlaced(order_id=order.id, email=EMAIL, pieces=order.pieces)


def cancelled(order: orders.Order) -> messages.OrderCancelled:
    return messages.OrderCancelled(order_id=order.id, email=EMAIL)


async def test_an_order_is_placed() -> None:
    """It records an event, on which others act."""
    await handlers.place_order(command := a_command(), uow := MemoryUnitOfWork())

    [order] = uow.store.seen
    assert isinstance(order, orders.Order)
    assert (order.id, order.articles) == (command.order_id, {"lamp": 2})
    assert uow.store.pull_events() == [placed(order)]


async def test_an_order_that_comes_again_changes_nothing() -> None:
    """A sender without an answer may repeat it."""
    order = an_order()

    await handlers.place_order(a_command(order.id), uow := MemoryUnitOfWork(order))

    assert uow.store.pull_events() == []


async def test_another_order_with_the_same_id_is_refused() -> None:
    """Otherwise, its sender would think that it is placed."""
    order = an_order()

    with pytest.raises(orders.OrderIdTaken):
        await handlers.place_order(a_command(order.id, pieces=3), MemoryUnitOfWork(order))


async def test_an_order_that_is_too_large_is_refused() -> None:
    """Nothing is stored."""
    with pytest.raises(orders.TooManyPieces):
        await handlers.place_order(a_command(pieces=101), uow := MemoryUnitOfWork())

    assert uow.store.seen == []


async def test_an_order_is_cancelled() -> None:
    """Only once: a repetition records no event."""
    order = an_order()
    uow = MemoryUnitOfWork(order)

    for _ in range(2):
        await handlers.cancel_order(messages.CancelOrder(order_id=order.id), uow)

    assert order.is_cancelled
    assert uow.store.pull_events() == [cancelled(order)]


async def test_only_an_order_can_be_cancelled() -> None:
    """A wrong id is refused."""
    command = messages.CancelOrder(order_id=uuid4())
    with pytest.raises(orders.OrderNotFound):
        await handlers.cancel_order(command, MemoryUnitOfWork(an_order()))


async def test_orders_are_counted() -> None:
    """Their cancellations are counted, too."""
    order, uow = an_order(), MemoryUnitOfWork()

    await handlers.count_order(placed(order), uow)
    await handlers.count_cancellation(cancelled(order), uow)

    assert uow.counted.numbers == {"placed": 1, "cancelled": 1}


async def test_statistics_in_memory_count_as_those_in_a_database_do() -> None:
    """Otherwise, the test before would prove nothing. `test_database.py` has the other half."""
    statistics = MemoryStatistics()

    assert await count_some(statistics) == statistics.numbers


async def test_an_order_is_confirmed(emails: SentEmails) -> None:
    """The key is the delivery's, so that a mail server can recognize a repetition."""
    await handlers.confirm_order(placed(an_order()), emails, KEY)

    assert (emails.subjects, emails.recipients) == (["Your order"], {KEY: EMAIL})


@pytest.mark.parametrize(("is_cancelled", "subjects"), [(False, ["How was it?"]), (True, [])])
async def test_feedback_is_asked_for_what_was_not_cancelled(
    is_cancelled: bool, subjects: list[str], emails: SentEmails
) -> None:
    """The order is read when the handler runs."""

    async def look_up(order_id: UUID) -> bool:
        return is_cancelled

    await handlers.ask_for_feedback(placed(an_order()), emails, look_up, KEY)

    assert emails.subjects == subjects
