"""What the e-mails say. Whom they reach, and when: `test_handlers.py`."""

import pytest

from allocation.domain.events import (
    CouponAllocated,
    CouponBatchExhausted,
    EmailChanged,
    UserRegistered,
)
from allocation.service_layer import emails
from allocation.service_layer.emails import Email
from tests.making import a_user_id

SPAM = "http://evil.example/prize"
REGISTERED = UserRegistered(user_id=a_user_id(), name=SPAM, email="ivan@example.com")
ALLOCATED = CouponAllocated(user_id=a_user_id(), batch_reference="SPRING", code="SPRING-x7")
CHANGED = EmailChanged(user_id=a_user_id(), old_email="old@example.com", new_email="spam@evil.com")
EXHAUSTED = CouponBatchExhausted(batch_reference="SPRING")

TO_USERS = [
    (emails.welcome(REGISTERED), "ivan@example.com", "ivan@example.com"),
    (emails.coupon(ALLOCATED, recipient="now@example.com"), "now@example.com", "SPRING-x7"),
    (
        emails.coupon_reminder(ALLOCATED, recipient="now@example.com"),
        "now@example.com",
        "SPRING-x7",
    ),
    (emails.change_notice(CHANGED), "old@example.com", "not you"),
]
TO_MARKETING = emails.coupon_batch_exhausted(EXHAUSTED, recipient="marketing@example.com")


@pytest.mark.parametrize(
    ("email", "recipient", "says"),
    [*TO_USERS, (TO_MARKETING, "marketing@example.com", "SPRING")],
    ids=lambda value: value.subject if isinstance(value, Email) else "",
)
def test_an_email_reaches_its_reader_and_says_what_it_is_for(
    email: Email, recipient: str, says: str
) -> None:
    """A coupon's code is in no subject: that shows on a locked screen, and a coupon is money."""
    assert email.recipient == recipient
    assert says in email.text
    assert "x7" not in email.subject


@pytest.mark.parametrize("email", [email for email, *_ in TO_USERS], ids=lambda e: e.subject)
def test_no_email_repeats_what_a_stranger_chose(email: Email) -> None:
    """Strangers choose names and new addresses: spam would go out under our own domain."""
    assert "evil" not in email.subject + email.text
