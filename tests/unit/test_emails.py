"""What the e-mails say. Whom they reach, and when: `test_email_handlers.py`."""

import pytest

from allocation.domain.events import (
    CouponAllocated,
    CouponBatchExhausted,
    EmailChanged,
    UserRegistered,
)
from allocation.service_layer import emails
from allocation.service_layer.emails import Email
from tests.builders import a_user_id

SPAM = "http://evil.example/prize"
REGISTERED = UserRegistered(user_id=a_user_id(), name=SPAM, email="ivan@example.com")
ALLOCATED = CouponAllocated(user_id=a_user_id(), batch_reference="SPRING", code="SPRING-x7")
CHANGED = EmailChanged(user_id=a_user_id(), old_email="old@example.com", new_email="spam@evil.com")
EXHAUSTED = CouponBatchExhausted(batch_reference="SPRING")

TO_USERS = {
    emails.welcome(REGISTERED): ("ivan@example.com", "ivan@example.com"),
    emails.coupon(ALLOCATED, recipient="now@example.com"): ("now@example.com", "SPRING-x7"),
    emails.coupon_reminder(ALLOCATED, recipient="now@example.com"): (
        "now@example.com",
        "SPRING-x7",
    ),
    emails.change_notice(CHANGED): ("old@example.com", "not you"),
}
TO_MARKETING = emails.coupon_batch_exhausted(EXHAUSTED, recipient="m@example.com")


@pytest.mark.parametrize("email", [*TO_USERS, TO_MARKETING], ids=lambda email: email.subject)
def test_an_email_says_what_it_is_for_and_repeats_nothing_that_a_stranger_chose(
    email: Email,
) -> None:
    """Strangers choose names and new addresses: spam would go out under our own domain.

    A coupon's code is in no subject: that shows on a locked screen, and a coupon is money.
    """
    recipient, says = TO_USERS.get(email, ("m@example.com", "SPRING"))
    assert email.recipient == recipient
    assert says in email.text
    assert "x7" not in email.subject
    assert "evil" not in email.subject + email.text
