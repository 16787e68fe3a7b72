"""A batch never gives one coupon too many; a coupon is redeemed or expires, and only once."""

from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocation.domain.bases import InvalidValue
from allocation.domain.coupons import (
    MAX_QUANTITY,
    CouponAlreadyRedeemed,
    CouponBatchAlreadyAdded,
    CouponBatchIsEmpty,
    CouponBatchIsFull,
    CouponIsExpired,
    CouponNotFound,
)
from allocation.domain.events import (
    CouponAllocated,
    CouponBatchExhausted,
    CouponExpired,
    CouponRedeemed,
)
from tests.builders import a_coupon, a_coupon_batch, a_redemption, a_user_id


@given(quantity=st.integers(1, 20), requests=st.integers(0, 40))
@example(quantity=1, requests=2)
@example(quantity=20, requests=20)
@settings(max_examples=40, deadline=None, database=None)
def test_never_more_coupons_than_the_quantity_are_given(quantity: int, requests: int) -> None:
    """First come, first served; when the last one goes, marketing is told."""
    batch, users = a_coupon_batch(quantity=quantity), [a_user_id() for _ in range(requests)]

    coupons = [batch.allocate(user_id, token=str(user_id)) for user_id in users[:quantity]]
    for late in users[quantity:]:
        with pytest.raises(CouponBatchIsEmpty, match="WELCOME"):
            batch.allocate(late, token="x")

    assert [coupon.user_id for coupon in coupons] == users[:quantity]
    assert len({coupon.code for coupon in coupons}) == len(coupons)
    assert batch.remaining == quantity - len(coupons)
    events = batch.pull_events()
    exhausted = [e for e in events if isinstance(e, CouponBatchExhausted)]
    assert exhausted == [CouponBatchExhausted(batch_reference="WELCOME")] * (requests >= quantity)
    assert [e.user_id for e in events if isinstance(e, CouponAllocated)] == users[:quantity]


def test_a_place_that_is_taken_again_is_no_news() -> None:
    """Marketing knows that the batch is used up, and can do nothing about each coupon."""
    batch = a_coupon_batch(quantity=1)
    batch.allocate(a_user_id(), token="x7")
    batch.pull_events()

    batch.give_back()
    batch.allocate(user_id := a_user_id(), token="x8")

    code = "WELCOME-x8"
    allocated = CouponAllocated(user_id=user_id, batch_reference="WELCOME", code=code)
    assert batch.pull_events() == (allocated,)


def test_what_is_given_back_can_be_allocated_again_and_no_more() -> None:
    """A full batch takes nothing back: there would be one coupon more than marketing ordered."""
    batch = a_coupon_batch(quantity=1, reference="SPRING")
    batch.allocate(a_user_id(), token="x7")

    batch.give_back()
    with pytest.raises(CouponBatchIsFull, match="SPRING"):
        batch.give_back()

    assert batch.remaining == 1
    assert batch.allocate(a_user_id(), token="x8").code.value == "SPRING-x8"


def test_a_batch_that_is_added_again_has_to_be_the_same() -> None:
    """Marketing may repeat an order that got no answer; another quantity is a mistake."""
    batch = a_coupon_batch(quantity=10, reference="SPRING")

    batch.ensure_same_quantity(10)
    with pytest.raises(CouponBatchAlreadyAdded, match="SPRING"):
        batch.ensure_same_quantity(11)

    assert batch.remaining == 10


@pytest.mark.parametrize("number", [0, -1, MAX_QUANTITY + 1, 2**63])
def test_a_quantity_is_a_number_from_one_to_a_thousand_million(number: int) -> None:
    """The limit is far above every campaign, and far below what a database overflows at."""
    assert [a_coupon_batch(quantity=n).remaining for n in (1, MAX_QUANTITY)] == [1, 10**9]
    with pytest.raises(InvalidValue, match=rf"^quantity {number} is not between 1 and 1000000000$"):
        a_coupon_batch(quantity=number)


def test_what_happens_to_a_coupon_is_about_its_user() -> None:
    """Whoever reads a subject, such as another service, does not learn the code."""
    user_id = a_user_id()
    coupon = a_coupon_batch(reference="SPRING").allocate(user_id, token="x7")

    assert coupon.subject == str(user_id)


def test_a_coupon_is_redeemed_once() -> None:
    """It costs money each time. A till that got no answer may repeat the same redemption."""
    coupon, redemption_id = a_coupon(), uuid4()

    for _ in range(2):
        coupon.redeem(redemption_id)
    with pytest.raises(CouponAlreadyRedeemed):
        coupon.redeem(uuid4())

    assert coupon.state == "redeemed"
    assert coupon.pull_events() == (
        CouponRedeemed(
            redemption_id=redemption_id, user_id=coupon.user_id, batch_reference="WELCOME"
        ),
    )


def test_a_coupon_that_has_expired_is_not_redeemed() -> None:
    """Its place may be somebody else's by then."""
    coupon = a_coupon()
    coupon.expire()

    with pytest.raises(CouponIsExpired):
        coupon.redeem(uuid4())

    assert (coupon.state, coupon.redemption_id) == ("expired", None)


def test_a_coupon_expires_once() -> None:
    """Each time, a place would go back to the batch."""
    coupon = a_coupon()

    for _ in range(2):
        coupon.expire()

    assert coupon.pull_events() == (
        CouponExpired(user_id=coupon.user_id, batch_reference="WELCOME"),
    )


def test_a_code_is_shown_by_nothing_that_may_be_logged() -> None:
    """It is money: anyone who reads it can spend it."""
    coupon = a_coupon(code="SPRING-x7")
    code = coupon.code.value
    allocated = CouponAllocated(user_id=coupon.user_id, batch_reference="SPRING", code=code)
    shown = [coupon, coupon.code, allocated, a_redemption(code), CouponNotFound(coupon.code)]

    assert [each for each in shown if code in f"{each} {each!r}"] == []
    assert coupon.subject == str(coupon.user_id)
