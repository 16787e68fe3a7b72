"""What all aggregates have in common: they record what has happened, and hand it over once."""

from uuid import uuid4

import pytest

from allocation.domain.bases import Aggregate
from allocation.domain.events import EmailBounced, EmailChanged, UserRegistered
from allocation.domain.values import EmailAddress
from tests.builders import a_coupon, a_coupon_batch, a_user


def test_events_are_handed_over_once_in_the_order_in_which_they_happened() -> None:
    """A second time, they would be stored and handled twice."""
    user = a_user(email="old@example.com")
    user.change_email(EmailAddress("new@example.com"))
    user.record_bounce(EmailAddress("new@example.com"))

    assert [type(event) for event in user.pull_events()] == [
        UserRegistered,
        EmailChanged,
        EmailBounced,
    ]
    assert user.pull_events() == ()


def test_what_one_aggregate_records_is_not_in_another() -> None:
    """The list of events begins as that of the class."""
    first, second = a_coupon(), a_coupon()

    first.redeem(uuid4())

    assert (len(first.recorded_events), second.recorded_events) == (1, ())


@pytest.mark.parametrize(
    ("aggregate", "subject"),
    [
        (user := a_user(), str(user.id)),
        (coupon := a_coupon(), str(coupon.user_id)),  # its code is money
        (a_coupon_batch(reference="SPRING"), "SPRING"),
    ],
    ids=["user", "coupon", "batch"],
)
def test_other_services_read_what_an_event_is_about(aggregate: Aggregate, subject: str) -> None:
    """They choose by it what they read; on Kafka, it is the key."""
    assert aggregate.subject == subject
