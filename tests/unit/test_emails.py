"""What the e-mails say, and whom they reach."""

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

REGISTERED = UserRegistered(user_id=a_user_id(), name="Иван", email="ivan@example.com")
ALLOCATED = CouponAllocated(user_id=a_user_id(), batch_reference="SPRING", code="SPRING-x7")
CHANGED = EmailChanged(
    user_id=a_user_id(), old_email="old@example.com", new_email="new@example.com"
)
EXHAUSTED = CouponBatchExhausted(batch_reference="WELCOME")


@pytest.mark.parametrize(
    ("email", "recipient", "subject", "says"),
    [
        # the proof that the registration worked, and with which address
        (emails.welcome(REGISTERED), "ivan@example.com", "Welcome", ["ivan@example.com"]),
        # a code is in no subject: that shows on a locked screen, and a coupon is worth money
        (
            emails.coupon(ALLOCATED, recipient="new@example.com"),
            "new@example.com",
            "Your welcome coupon",
            ["SPRING-x7"],
        ),
        (
            emails.coupon_reminder(ALLOCATED, recipient="new@example.com"),
            "new@example.com",
            "Your welcome coupon expires soon",
            ["SPRING-x7"],
        ),
        # if somebody else made the change, only the old address reaches the victim
        (
            emails.change_notice(CHANGED),
            "old@example.com",
            "Your e-mail address was changed",
            ["If that was not you, contact us"],
        ),
        (
            emails.coupon_batch_exhausted(EXHAUSTED, recipient="marketing@example.com"),
            "marketing@example.com",
            "Out of welcome coupons",
            ["WELCOME is used up", "add one"],
        ),
    ],
)
def test_an_e_mail_reaches_somebody_and_says_something(
    email: Email, recipient: str, subject: str, says: list[str]
) -> None:
    """The address that a user has now is looked up by the handler."""
    assert (email.recipient, email.subject) == (recipient, subject)
    assert [words for words in says if words not in email.text] == []


def test_no_e_mail_repeats_what_a_stranger_chose() -> None:
    """Who registers chooses the name and the address: spam would go out under our own domain."""
    spam, user_id = "http://evil.example/prize", a_user_id()
    registered = UserRegistered(user_id=user_id, name=spam, email="victim@example.com")
    changed = EmailChanged(user_id=user_id, old_email="victim@example.com", new_email="spam@evil")

    for email in (emails.welcome(registered), emails.change_notice(changed)):
        assert "evil" not in email.subject + email.text
