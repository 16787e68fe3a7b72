"""A user keeps its own rules, and records what happened to it."""

import pytest

from allocation.domain.events import EmailBounced, EmailChanged
from allocation.domain.users import UserAlreadyRegistered
from allocation.domain.values import EmailAddress, PersonName
from tests.builders import a_user


@pytest.mark.parametrize("email", ["ivan@example.com", "IVAN@example.com"])
def test_a_repeated_registration_changes_nothing(email: str) -> None:
    """A client that got no answer may simply ask again."""
    user = a_user(name="Иван", email="ivan@example.com")
    user.pull_events()

    user.ensure_same_registration(PersonName("Иван"), EmailAddress(email))

    assert (str(user.email), user.recorded_events) == ("ivan@example.com", ())


@pytest.mark.parametrize(
    ("name", "email"), [("Anna", "ivan@example.com"), ("Иван", "anna@example.com")]
)
def test_a_registration_with_other_data_is_refused(name: str, email: str) -> None:
    """One id for two people is a mistake; to accept it silently would lose the second one."""
    user = a_user(name="Иван", email="ivan@example.com")
    user.pull_events()

    with pytest.raises(UserAlreadyRegistered, match=str(user.id)):
        user.ensure_same_registration(PersonName(name), EmailAddress(email))

    assert (str(user.name), str(user.email)) == ("Иван", "ivan@example.com")
    assert user.recorded_events == ()


@pytest.mark.parametrize("new", ["New@example.com", "OLD@example.com"])
def test_a_change_of_address_is_recorded_with_both_addresses(new: str) -> None:
    """Only the event still knows the old one, which is warned. The spelling can be corrected."""
    user = a_user(email="Old@example.com")
    user.pull_events()

    user.change_email(EmailAddress(new))

    assert str(user.email) == new
    assert user.recorded_events == (
        EmailChanged(user_id=user.id, old_email="Old@example.com", new_email=new),
    )


@pytest.mark.parametrize("same", ["ivan@example.com", " ivan@example.com "])
def test_a_change_to_the_same_address_changes_nothing(same: str) -> None:
    """Nobody is warned of a change that is none."""
    user = a_user(email="ivan@example.com")
    user.pull_events()

    user.change_email(EmailAddress(same))

    assert (str(user.email), user.recorded_events) == ("ivan@example.com", ())


def test_a_bounce_is_recorded_once() -> None:
    """However the address is spelled, and however many e-mails come back."""
    user = a_user(email="Ivan@example.com")
    user.pull_events()

    for _ in range(2):
        user.record_bounce(EmailAddress("ivan@example.com"))

    assert user.email_undeliverable
    assert user.recorded_events == (EmailBounced(user_id=user.id, email="Ivan@example.com"),)
