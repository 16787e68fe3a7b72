"""A coupon batch never gives one coupon too many, and says what it gave."""

from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocation.domain.coupons import (
    BatchReference,
    CouponAlreadyAllocated,
    CouponBatch,
    CouponBatchAlreadyAdded,
    CouponBatchIsFull,
    Quantity,
)
from allocation.domain.events import CouponAllocated, CouponBatchExhausted, CouponDenied
from tests.builders import TODAY, a_user_id


def a_coupon_batch(*, quantity: int = 10, reference: str = "WELCOME") -> CouponBatch:
    return CouponBatch.add(BatchReference(reference), Quantity(quantity))


def test_a_new_batch_is_full() -> None:
    """Marketing can rely on the number they ordered."""
    batch = a_coupon_batch(quantity=3, reference="SPRING")

    assert str(batch.key) == "SPRING"
    assert (batch.quantity, batch.remaining) == (3, 3)
    assert batch.new_coupons == ()


def test_a_coupon_is_taken_out_of_the_batch_for_one_user_and_recorded() -> None:
    """At the till, the code alone has to tell which campaign it is from."""
    batch, user_id = a_coupon_batch(quantity=3, reference="SPRING"), a_user_id()

    coupon = batch.allocate(user_id, token="x7", today=TODAY)

    assert coupon is not None
    assert (coupon.code.value, coupon.user_id) == ("SPRING-x7", user_id)
    assert coupon.batch_reference == BatchReference("SPRING")
    assert (batch.remaining, batch.quantity, batch.new_coupons) == (2, 3, (coupon,))
    assert batch.pull_events() == (
        CouponAllocated(user_id=user_id, batch_reference="SPRING", code="SPRING-x7"),
    )


def test_no_user_is_given_two_coupons() -> None:
    """One each was promised; the second one would be somebody else's."""
    batch, user_id = a_coupon_batch(quantity=3), a_user_id()
    batch.allocate(user_id, token="x7", today=TODAY)

    with pytest.raises(CouponAlreadyAllocated, match=f"^user {user_id} has a coupon already$"):
        batch.allocate(user_id, token="x8", today=TODAY)

    assert batch.remaining == 2
    assert [coupon.code.value for coupon in batch.new_coupons] == ["WELCOME-x7"]


def test_an_empty_batch_gives_nothing_and_says_so() -> None:
    """Marketing learns who went without, and the count never drops below zero."""
    batch, late = a_coupon_batch(quantity=1), a_user_id()
    batch.allocate(a_user_id(), token="x7", today=TODAY)
    batch.pull_events()

    coupon = batch.allocate(late, token="x8", today=TODAY)

    assert coupon is None
    assert batch.remaining == 0
    assert len(batch.new_coupons) == 1
    assert batch.pull_events() == (
        CouponDenied(user_id=late),
        CouponBatchExhausted(batch_reference=str(batch.reference)),
    )


def test_the_exhausted_batch_refuses_everybody() -> None:
    """Having no batch at all is not an error: the user is registered, only without a coupon."""
    batch, user_id = CouponBatch.empty(), a_user_id()

    coupon = batch.allocate(user_id, token="x7", today=TODAY)

    assert coupon is None
    assert batch.new_coupons == ()
    assert batch.pull_events() == (CouponDenied(user_id=user_id),)


@given(quantity=st.integers(1, 20), requests=st.integers(0, 40))
@example(quantity=1, requests=2)
@example(quantity=20, requests=20)
@settings(max_examples=40, deadline=None)
def test_never_more_coupons_than_the_quantity_are_given_and_nobody_is_forgotten(
    quantity: int, requests: int
) -> None:
    """First come, first served; and each user gets a coupon, or is known to have got none."""
    batch, users = a_coupon_batch(quantity=quantity), [a_user_id() for _ in range(requests)]

    coupons = [batch.allocate(user_id, token=str(user_id), today=TODAY) for user_id in users]

    given_out = [coupon for coupon in coupons if coupon is not None]
    assert [coupon.user_id for coupon in given_out] == users[:quantity]
    assert len({coupon.code for coupon in given_out}) == len(given_out)
    assert batch.new_coupons == tuple(given_out)
    assert batch.remaining == quantity - len(given_out)
    events = batch.pull_events()
    assert [e.user_id for e in events if isinstance(e, CouponAllocated)] == users[:quantity]
    assert [e.user_id for e in events if isinstance(e, CouponDenied)] == users[quantity:]
    assert len(events) == requests + (requests > quantity)  # that it is exhausted


def test_that_the_coupons_have_run_out_is_told_once_a_day() -> None:
    """Marketing got an e-mail for each of twelve thousand users, and stopped reading them."""
    batch, days = a_coupon_batch(quantity=1), [TODAY, TODAY, TODAY + timedelta(days=1)]
    batch.allocate(a_user_id(), token="x", today=TODAY)

    told = []
    for day in days:
        batch.pull_events()
        batch.allocate(a_user_id(), token="x", today=day)
        told.append(any(isinstance(event, CouponBatchExhausted) for event in batch.recorded_events))

    assert told == [True, False, True]


def test_allocating_needs_no_coupon_given_before() -> None:
    """The millionth user must not wait for a million rows: the count alone decides."""
    batch = a_coupon_batch(quantity=1_000_000)
    batch.remaining = 1  # as it is loaded: the coupons given before stay in the database

    last, late = (batch.allocate(a_user_id(), token=token, today=TODAY) for token in ("a", "b"))

    assert last is not None
    assert late is None
    assert batch.new_coupons == (last,)


def test_a_repeated_addition_changes_nothing() -> None:
    """Whoever got no answer may ask again, even after coupons were given: no new ones appear."""
    batch = a_coupon_batch(quantity=3)
    batch.allocate(a_user_id(), token="x7", today=TODAY)
    batch.pull_events()

    batch.ensure_same_quantity(Quantity(3))

    assert (batch.quantity, batch.remaining) == (3, 2)
    assert batch.recorded_events == ()


@pytest.mark.parametrize("quantity", [2, 4])
def test_an_addition_of_another_quantity_under_the_same_reference_is_refused(
    quantity: int,
) -> None:
    """It is another batch by mistake; to keep silent would lose its coupons."""
    batch = a_coupon_batch(quantity=3, reference="SPRING")
    batch.allocate(a_user_id(), token="x7", today=TODAY)

    with pytest.raises(
        CouponBatchAlreadyAdded, match=r"^coupon batch SPRING was already added with quantity 3$"
    ):
        batch.ensure_same_quantity(Quantity(quantity))

    assert (batch.quantity, batch.remaining) == (3, 2)


def test_what_is_given_back_can_be_allocated_again() -> None:
    """A coupon that nobody wanted is worth something to somebody else."""
    batch = a_coupon_batch(quantity=1)
    batch.allocate(a_user_id(), token="x7", today=TODAY)

    batch.give_back()

    assert batch.remaining == 1
    assert batch.allocate(a_user_id(), token="x8", today=TODAY) is not None


def test_a_full_batch_takes_nothing_back() -> None:
    """There would be one coupon more than marketing has ordered."""
    batch = a_coupon_batch(quantity=1, reference="SPRING")

    with pytest.raises(CouponBatchIsFull, match="^nothing is missing from coupon batch SPRING$"):
        batch.give_back()

    assert batch.remaining == 1
