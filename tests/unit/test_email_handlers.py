"""The handlers that send e-mails, called directly: to whom, when, and what a bounce leads to."""

import pytest
from aftercommit import IdempotencyKey
from aftercommit.errors import is_permanent
from aftercommit.extensions.smtp.exceptions import AddressUndeliverable, EmailRefused

from allocation.adapters.email_sender import TranslatingEmailSender
from allocation.domain.commands import RecordBounce
from allocation.domain.events import (
    CouponAllocated,
    CouponBatchExhausted,
    EmailChanged,
    UserId,
    UserRegistered,
)
from allocation.service_layer.handlers import (
    notify_marketing,
    send_change_notice,
    send_coupon_email,
    send_coupon_reminder,
    send_welcome_email,
)
from allocation.service_layer.ports import NoSuchAddress
from tests.builders import a_user_id
from tests.email_senders import RecordingEmailSender

pytestmark = pytest.mark.anyio

Emails = RecordingEmailSender

IVAN = a_user_id()
KEY = IdempotencyKey("of this delivery")
REGISTERED = UserRegistered(user_id=IVAN, name="Иван", email="ivan@example.com")
ALLOCATED = CouponAllocated(user_id=IVAN, batch_reference="WELCOME", code="WELCOME-x7")
CHANGED = EmailChanged(user_id=IVAN, old_email="old@example.com", new_email="new@example.com")


async def find_contact(user_id: UserId) -> str | None:
    """Find the address that Иван has now; nobody else has one that exists."""
    return "now@example.com" if user_id == IVAN else None


async def holder(code: str) -> str | None:
    """Find who can still redeem the coupon."""
    return "now@example.com" if code == "WELCOME-x7" else None


async def nobody(code: str) -> str | None:
    """Find nobody: the coupon is redeemed, or has expired."""
    return None


async def test_a_new_user_is_welcomed(emails: Emails) -> None:
    """With the key of this delivery, so that a mail server can recognize a repetition."""
    bounce = await send_welcome_email(REGISTERED, emails, KEY)

    assert (emails.subjects_to("ivan@example.com"), emails.keys) == (["Welcome"], [KEY])
    assert bounce is None


async def test_an_address_that_does_not_exist_is_to_be_recorded(emails: Emails) -> None:
    """The handler returns the command, and the engine stores what the server has replied."""
    emails.errors["ivan@example.com"] = AddressUndeliverable()

    bounce = await send_welcome_email(REGISTERED, TranslatingEmailSender(emails), KEY)

    assert bounce == RecordBounce(user_id=IVAN, email="ivan@example.com")


async def test_no_server_is_asked_about_a_host_that_cannot_be(emails: Emails) -> None:
    """An erased user has such an address: RFC 2606."""
    erased = UserRegistered(user_id=IVAN, name="Иван", email="ivan@erased.INVALID")

    bounce = await send_welcome_email(erased, TranslatingEmailSender(emails), KEY)

    assert emails.keys == []
    assert bounce == RecordBounce(user_id=IVAN, email="ivan@erased.INVALID")


@pytest.mark.parametrize("error", [OSError("mailbox full"), EmailRefused("550 mailbox full")])
async def test_a_mail_server_that_fails_fails_the_handler(emails: Emails, error: Exception) -> None:
    """The engine tries again, or parks the delivery; nobody may take a failure for a bounce."""
    emails.errors["ivan@example.com"] = error

    with pytest.raises(type(error), match="mailbox full"):
        await send_welcome_email(REGISTERED, TranslatingEmailSender(emails), KEY)


async def test_a_coupon_goes_to_the_address_that_the_user_has_now(emails: Emails) -> None:
    """A retry may come after the user has moved."""
    await send_coupon_email(ALLOCATED, find_contact, emails, KEY)

    assert emails.subjects_to("now@example.com") == ["Your welcome coupon"]


async def test_no_coupon_is_sent_to_an_address_that_is_known_not_to_exist(emails: Emails) -> None:
    """Servers that bounce much are taken for spammers."""
    unreachable = CouponAllocated(user_id=a_user_id(), batch_reference="WELCOME", code="WELCOME-x8")

    await send_coupon_email(unreachable, find_contact, emails, KEY)

    assert emails.keys == []


async def test_a_coupon_that_bounces_is_refused_for_good(emails: Emails) -> None:
    """Only the first e-mail to a user records a bounce: the delivery waits for an operator."""
    emails.errors["now@example.com"] = AddressUndeliverable()

    with pytest.raises(NoSuchAddress) as refusal:
        await send_coupon_email(ALLOCATED, find_contact, TranslatingEmailSender(emails), KEY)

    assert is_permanent(refusal.value)


async def test_who_can_still_redeem_a_coupon_is_reminded_of_it(emails: Emails) -> None:
    """At the address of now."""
    await send_coupon_reminder(ALLOCATED, holder, emails, KEY)

    assert emails.subjects_to("now@example.com") == ["Your welcome coupon expires soon"]


async def test_nobody_is_reminded_of_a_coupon_that_is_gone(emails: Emails) -> None:
    """It was redeemed, or has expired, since the reminder was planned."""
    await send_coupon_reminder(ALLOCATED, nobody, emails, KEY)

    assert emails.keys == []


async def test_the_old_address_is_warned_of_a_change(emails: Emails) -> None:
    """An owner who has lost the account must hear of it."""
    await send_change_notice(CHANGED, emails, KEY)

    assert [email.recipient for email in emails.sent] == ["old@example.com"]


async def test_nobody_has_to_be_warned_at_an_address_that_does_not_exist(emails: Emails) -> None:
    """A user who has corrected a typing error is no case for an operator."""
    emails.errors["old@example.com"] = AddressUndeliverable()

    await send_change_notice(CHANGED, TranslatingEmailSender(emails), KEY)

    assert emails.sent == []


async def test_marketing_is_asked_for_more_coupons(emails: Emails) -> None:
    """At the address that the settings name."""
    exhausted = CouponBatchExhausted(batch_reference="SPRING")

    await notify_marketing(exhausted, emails, "marketing@example.com", KEY)

    [email] = emails.sent
    assert (email.recipient, email.subject) == ("marketing@example.com", "Out of welcome coupons")
    assert "SPRING" in email.text
    assert emails.keys == [KEY]
