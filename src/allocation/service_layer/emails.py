"""The e-mails this service sends: what they say, not how they travel. Pure functions."""

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
    text = f"Hello {event.name},\n\nyou are registered with {event.email}. Welcome!\n"
    return Email(recipient=event.email, subject=f"Welcome, {event.name}", text=text)


def coupon(event: events.CouponAllocated, *, name: str, recipient: str) -> Email:
    """Send users their coupon."""
    text = f"Hello {name},\n\nyour welcome coupon is {event.code}.\n"
    return Email(recipient=recipient, subject="Your welcome coupon", text=text)


def change_notice(event: events.EmailChanged) -> Email:
    """Tell the old address about the new one, in case somebody else made the change."""
    text = f"Your account now uses {event.new_email}.\n\nIf that was not you, contact us.\n"
    return Email(recipient=event.old_email, subject="Your e-mail address was changed", text=text)


def coupons_ran_out(event: events.CouponsRanOut, *, recipient: str) -> Email:
    """Tell marketing that users go without a coupon."""
    text = f"Batch {event.batch_reference} is used up, and there is no other. Please add one.\n"
    return Email(recipient=recipient, subject="Out of welcome coupons", text=text)
