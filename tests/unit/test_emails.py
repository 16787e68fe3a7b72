"""What the e-mails say, and whom they reach."""

from allocation.domain.events import CouponAllocated, CouponsRanOut, EmailChanged, UserRegistered
from allocation.service_layer import emails
from tests.builders import a_user_id


def test_the_welcome_greets_the_user_by_name() -> None:
    """It is the proof that the registration worked, and with which address."""
    event = UserRegistered(user_id=a_user_id(), name="Иван", email="ivan@example.com")

    email = emails.welcome(event)

    assert email.recipient == "ivan@example.com"
    assert email.subject == "Welcome, Иван"
    assert "Hello Иван" in email.text
    assert "ivan@example.com" in email.text


def test_the_coupon_goes_to_the_address_the_user_has_now() -> None:
    """The address may have changed since the coupon was given."""
    event = CouponAllocated(user_id=a_user_id(), batch_reference="SPRING", code="SPRING-x7")

    email = emails.coupon(event, name="Иван", recipient="new@example.com")

    assert email.recipient == "new@example.com"
    assert "coupon" in email.subject
    assert "Hello Иван" in email.text
    assert "SPRING-x7" in email.text


def test_the_code_is_not_in_the_subject_of_the_coupon() -> None:
    """A subject shows on a locked screen, and a coupon is worth money."""
    event = CouponAllocated(user_id=a_user_id(), batch_reference="SPRING", code="SPRING-x7")

    email = emails.coupon(event, name="Иван", recipient="ivan@example.com")

    assert "SPRING-x7" not in email.subject


def test_the_change_notice_warns_the_old_address() -> None:
    """If somebody else made the change, only the old address reaches the victim."""
    event = EmailChanged(
        user_id=a_user_id(), old_email="old@example.com", new_email="new@example.com"
    )

    email = emails.change_notice(event)

    assert email.recipient == "old@example.com"
    assert email.subject == "Your e-mail address was changed"
    assert "new@example.com" in email.text
    assert "If that was not you, contact us" in email.text


def test_marketing_learns_that_coupons_have_run_out() -> None:
    """They have to add a batch."""
    event = CouponsRanOut(batch_reference="WELCOME")

    email = emails.coupons_ran_out(event, recipient="marketing@example.com")

    assert email.recipient == "marketing@example.com"
    assert email.subject == "Out of welcome coupons"
    assert "WELCOME is used up" in email.text
    assert "add one" in email.text
