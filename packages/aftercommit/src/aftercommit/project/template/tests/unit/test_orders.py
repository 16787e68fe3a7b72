"""The rules of orders, without a database."""

from uuid import uuid4

import pytest

from shop.domain.aggregate import InvalidInput
from shop.domain.messages import OrderCancelled, OrderPlaced
from shop.domain.orders import MOST_PIECES, Order, TooManyPieces


def an_order(**articles: int) -> Order:
    return Order.place(uuid4(), "ivan@example.com", articles or {"lamp": 2})


def test_an_order_says_that_it_was_placed() -> None:
    """Others act on it: statistics, e-mails, other services."""
    order = an_order(lamp=2, chair=4)

    placed = OrderPlaced(order_id=order.id, email="ivan@example.com", pieces=6)
    assert order.pull_events() == (placed,)


def test_an_order_has_a_limit_over_all_its_lines() -> None:
    """What is larger is not delivered at a time."""
    order = an_order(lamp=MOST_PIECES)

    with pytest.raises(TooManyPieces):
        order.add("chair", 1)


@pytest.mark.parametrize(("article", "pieces"), [("", 1), ("lamp", 0), ("lamp", -1)])
def test_a_line_is_about_something(article: str, pieces: int) -> None:
    """Nobody could deliver it."""
    with pytest.raises(InvalidInput):
        an_order().add(article, pieces)


def test_an_order_is_about_something() -> None:
    """Without a line it would be counted, and in no list."""
    with pytest.raises(InvalidInput):
        Order.place(uuid4(), "ivan@example.com", {})


def test_who_orders_can_be_reached() -> None:
    """By e-mail."""
    with pytest.raises(InvalidInput):
        Order.place(uuid4(), "Иван", {"lamp": 1})


def test_an_order_is_cancelled_once() -> None:
    """Doing it again says nothing new."""
    order = an_order()
    order.pull_events()

    order.cancel()
    order.cancel()

    assert order.pull_events() == (OrderCancelled(order_id=order.id, email=order.email),)
