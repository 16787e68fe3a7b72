"""A coupon is either redeemed or expires, once, and what may be logged shows no code."""

from uuid import uuid4

import pytest

from allocation.domain.coupons import (
    BatchReference,
    Coupon,
    CouponAlreadyRedeemed,
    CouponCode,
    CouponIsExpired,
    CouponNotFound,
)
from allocation.domain.events import CouponAllocated, CouponExpired, CouponRedeemed
from allocation.domain.exceptions import InvalidValue
from tests.builders import a_redemption, a_user_id

CODE = "SPRING-x7"


def a_coupon() -> Coupon:
    return Coupon(a_user_id(), CouponCode(CODE), BatchReference("SPRING"))


def test_a_redeemed_coupon_is_used_up() -> None:
    """Whoever redeems it can rely on it: other services learn who, and out of which campaign."""
    coupon, redemption_id = a_coupon(), uuid4()

    coupon.redeem(redemption_id)

    assert coupon.state == "redeemed"
    assert coupon.pull_events() == (
        CouponRedeemed(
            redemption_id=redemption_id, user_id=coupon.user_id, batch_reference="SPRING"
        ),
    )


def test_the_same_redemption_again_changes_nothing() -> None:
    """A till that got no answer can safely ask again."""
    coupon, redemption_id = a_coupon(), uuid4()
    coupon.redeem(redemption_id)
    coupon.pull_events()

    coupon.redeem(redemption_id)

    assert coupon.recorded_events == ()


def test_a_coupon_is_redeemed_once() -> None:
    """It costs money each time."""
    coupon = a_coupon()
    coupon.redeem(uuid4())

    with pytest.raises(CouponAlreadyRedeemed, match="^the coupon was redeemed before$"):
        coupon.redeem(uuid4())


def test_an_expired_coupon_cannot_be_redeemed() -> None:
    """Its place in the batch may be somebody else's by now."""
    coupon = a_coupon()

    coupon.expire()

    assert coupon.state == "expired"
    assert coupon.pull_events() == (
        CouponExpired(user_id=coupon.user_id, batch_reference="SPRING"),
    )
    with pytest.raises(CouponIsExpired, match="^the coupon has expired$"):
        coupon.redeem(uuid4())


def test_a_redeemed_coupon_does_not_expire() -> None:
    """Its place in the batch is taken, for good."""
    coupon = a_coupon()
    coupon.redeem(uuid4())
    coupon.pull_events()

    coupon.expire()

    assert (coupon.state, coupon.recorded_events) == ("redeemed", ())


def test_a_coupon_expires_once() -> None:
    """A second event would give its place back twice."""
    coupon = a_coupon()
    coupon.expire()
    coupon.pull_events()

    coupon.expire()

    assert coupon.recorded_events == ()


def test_the_code_is_shown_by_nothing_that_may_be_logged() -> None:
    """It is money: whoever reads it can spend it."""
    coupon = a_coupon()
    allocated = CouponAllocated(user_id=coupon.user_id, batch_reference="SPRING", code=CODE)
    shown = [coupon, coupon.code, allocated, a_redemption(CODE), CouponNotFound(coupon.code)]

    assert not [each for each in shown if CODE in f"{each} {each!r}"]
    assert coupon.subject == str(coupon.user_id)


@pytest.mark.parametrize("text", ["", "-x7", "SPRING x7", "SPRING-x7\n", "ПРИВЕТ", "x" * 81])
def test_what_cannot_be_a_code_is_refused_and_not_repeated(text: str) -> None:
    """A code with a slip of the finger in it is nearly the code."""
    with pytest.raises(InvalidValue, match="^coupon code is not 1 to 80 of A-Z, a-z") as refused:
        CouponCode(text)

    assert not text.strip() or text not in str(refused.value)
