"""The e-mails this service sends: what they say, not how they travel. Pure functions.

Anybody may register anybody, and nobody has confirmed an address. So no e-mail contains a text that
somebody chose: no name, and no address but the recipient's.
"""

from dataclasses import dataclass

from allocation.domain import events


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """One e-mail to one recipient, as plain text."""

    recipient: str
    subject: str
    text: str


def welcome(event: events.UserRegistered) -> Email:
    """Greet a new user."""
    text = f"Hello,\n\nyou are registered with {event.email}. Welcome!\n"
    return Email(recipient=event.email, subject="Welcome", text=text)


def coupon(event: events.CouponAllocated, *, recipient: str) -> Email:
    """Send users their coupon."""
    text = f"Hello,\n\nyour welcome coupon is {event.code}.\n"
    return Email(recipient=recipient, subject="Your welcome coupon", text=text)


def coupon_reminder(event: events.CouponAllocated, *, recipient: str) -> Email:
    """Remind users of a coupon that they have not redeemed."""
    text = f"Hello,\n\nyour welcome coupon {event.code} expires soon.\n"
    return Email(recipient=recipient, subject="Your welcome coupon expires soon", text=text)


def change_notice(event: events.EmailChanged) -> Email:
    """Warn the old address, in case somebody else made the change."""
    text = "Your account now uses another address.\n\nIf that was not you, contact us.\n"
    return Email(recipient=event.old_email, subject="Your e-mail address was changed", text=text)


def coupon_batch_exhausted(event: events.CouponBatchExhausted, *, recipient: str) -> Email:
    """Report to marketing that a batch has no more coupons."""
    text = f"The last coupon of batch {event.batch_reference} is gone. Is there another batch?\n"
    return Email(recipient=recipient, subject="Out of welcome coupons", text=text)
