"""The rules of orders, without a database."""

from uuid import uuid4

import pytest

from shop.domain.bases import InvalidValue
from shop.domain.messages import OrderCancelled, OrderPlaced
from shop.domain.orders import MOST_PIECES, Order, TooManyPieces


def an_order(**articles: int) -> Order:
    return Order.place(uuid4(), "ivan@example.com", articles or {"lamp": 2})


def test_an_order_says_that_it_was_placed() -> None:
    """Statistics, e-mails and other services act on the event."""
    order = an_order(lamp=2, chair=4)

    placed = OrderPlaced(order_id=order.id, email="ivan@example.com", pieces=6)
    assert order.pull_events() == (placed,)


def test_an_order_has_a_limit_over_all_its_lines() -> None:
    """A larger order cannot be delivered at once."""
    order = an_order(lamp=MOST_PIECES)

    with pytest.raises(TooManyPieces):
        order.add("chair", 1)


@pytest.mark.parametrize(
    ("email", "articles"),
    [
        ("Иван", {"lamp": 1}),
        ("ivan@localhost", {"lamp": 1}),
        ("ivan\n@example.com", {"lamp": 1}),
        ("ivan\ud800@example.com", {"lamp": 1}),
        ("ivan@=?utf-8?q?example.com=0D=0ABcc=3A_eve=40example.com?=.com", {"lamp": 1}),
        ("(a)" * 20_000 + "@example.com", {"lamp": 1}),  # a mail header would take minutes
        ("ivan@example.com", {}),
        ("ivan@example.com", {"": 1}),
        ("ivan@example.com", {"\x1b]0;lamp\x07": 1}),
        ("ivan@example.com", {"lamp" * 100: 1}),
        ("ivan@example.com", {"lamp": 0}),
        ("ivan@example.com", {"lamp": 2, "chair": -1}),
    ],
)
def test_what_nobody_could_deliver_is_refused(email: str, articles: dict[str, int]) -> None:
    """Otherwise, it would be counted without being in any list."""
    with pytest.raises(InvalidValue):
        Order.place(uuid4(), email, articles)


def test_an_order_is_cancelled_once() -> None:
    """A repetition records no event."""
    order = an_order()
    order.pull_events()

    order.cancel()
    order.cancel()

    assert order.pull_events() == (OrderCancelled(order_id=order.id, email=order.email),)
