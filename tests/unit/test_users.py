"""A user keeps its own rules, and records what happened to it."""

import pytest

from allocation.domain.events import EmailChanged, UserRegistered
from allocation.domain.exceptions import UserAlreadyRegistered
from allocation.domain.model import User
from allocation.domain.values import EmailAddress, PersonName
from tests.builders import a_user, a_user_id


def test_a_registered_user_is_who_they_said_they_are() -> None:
    """Whoever registers finds their own data again."""
    user_id = a_user_id()

    user = User.register(user_id, PersonName("Иван"), EmailAddress("Ivan@Example.com"))

    assert user.id == user_id
    assert str(user.name) == "Иван"
    assert str(user.email) == "Ivan@Example.com"


def test_registration_is_recorded() -> None:
    """The welcome e-mail, the log and the coupon all follow from this one event."""
    user_id = a_user_id()

    user = User.register(user_id, PersonName(" Иван "), EmailAddress("Ivan@Example.com"))

    assert user.recorded_events == (
        UserRegistered(user_id=user_id, name="Иван", email="Ivan@Example.com"),
    )


def test_events_are_labelled_with_the_id_of_the_user() -> None:
    """Readers of the event log find the story of one user by it."""
    user = a_user()

    assert user.subject == str(user.id)


def test_events_are_handed_over_once() -> None:
    """A second commit in the same unit of work must not send everything again."""
    user = a_user()

    first, second = user.drain_events(), user.drain_events()

    assert [type(event) for event in first] == [UserRegistered]
    assert second == ()


def test_events_are_handed_over_in_the_order_they_happened() -> None:
    """Two changes told in the wrong order would warn the wrong address."""
    user = a_user(email="first@example.com")

    user.change_email(EmailAddress("second@example.com"))
    user.change_email(EmailAddress("third@example.com"))

    assert user.drain_events()[1:] == (
        EmailChanged(
            user_id=user.id, old_email="first@example.com", new_email="second@example.com"
        ),
        EmailChanged(
            user_id=user.id, old_email="second@example.com", new_email="third@example.com"
        ),
    )


def test_what_happens_after_the_events_were_handed_over_is_recorded_anew() -> None:
    """A user that goes on living goes on telling."""
    user = a_user(email="old@example.com")
    user.drain_events()

    user.change_email(EmailAddress("new@example.com"))

    assert [type(event) for event in user.drain_events()] == [EmailChanged]


def test_users_do_not_share_their_events() -> None:
    """The empty start is one object for all users: nothing may be added to it."""
    user, other = a_user(email="ivan@example.com"), a_user(email="anna@example.com")
    other.drain_events()

    user.change_email(EmailAddress("new@example.com"))

    assert other.recorded_events == ()


@pytest.mark.parametrize("email", ["ivan@example.com", "IVAN@example.com"])
def test_a_repeated_registration_changes_nothing(email: str) -> None:
    """A client that got no answer may simply ask again."""
    user = a_user(name="Иван", email="ivan@example.com")
    user.drain_events()

    user.confirm_registration(PersonName("Иван"), EmailAddress(email))

    assert user.recorded_events == ()
    assert str(user.email) == "ivan@example.com"


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("Anna", "ivan@example.com"),
        ("Иван", "anna@example.com"),
        ("Anna", "anna@example.com"),
    ],
)
def test_a_registration_with_other_data_is_refused(name: str, email: str) -> None:
    """One id for two people is a mistake; to keep silent would lose the second one."""
    user = a_user(name="Иван", email="ivan@example.com")
    user.drain_events()

    with pytest.raises(UserAlreadyRegistered, match=f"user {user.id} is already registered"):
        user.confirm_registration(PersonName(name), EmailAddress(email))

    assert (str(user.name), str(user.email)) == ("Иван", "ivan@example.com")
    assert user.recorded_events == ()


def test_a_change_of_address_is_recorded_with_both_addresses() -> None:
    """The old address is warned, and only the event still knows it."""
    user = a_user(email="Old@example.com")
    user.drain_events()

    user.change_email(EmailAddress("New@example.com"))

    assert str(user.email) == "New@example.com"
    assert user.recorded_events == (
        EmailChanged(user_id=user.id, old_email="Old@example.com", new_email="New@example.com"),
    )


def test_the_spelling_of_an_address_can_be_corrected() -> None:
    """What stands before the @ may be case-sensitive to its mail server."""
    user = a_user(email="ivan@example.com")
    user.drain_events()

    user.change_email(EmailAddress("IVAN@example.com"))

    assert str(user.email) == "IVAN@example.com"
    assert len(user.recorded_events) == 1


@pytest.mark.parametrize("same", ["ivan@example.com", " ivan@example.com "])
def test_a_change_to_the_address_the_user_has_changes_nothing(same: str) -> None:
    """Nobody is warned of a change that is none."""
    user = a_user(email="ivan@example.com")
    user.drain_events()

    user.change_email(EmailAddress(same))

    assert user.recorded_events == ()
    assert str(user.email) == "ivan@example.com"
