"""A user: the aggregate, and its errors."""

from allocation.domain import events
from allocation.domain.bases import Aggregate, RuleViolation
from allocation.domain.values import EmailAddress, PersonName


class User(Aggregate):
    """A registered user. No two have the same e-mail address: the database ensures that."""

    def __init__(self, user_id: events.UserId, name: PersonName, email: EmailAddress) -> None:
        self.id = user_id
        self.name = name
        self.email = email
        self.email_undeliverable = False
        self.version = 0

    @classmethod
    def register(cls, user_id: events.UserId, name: PersonName, email: EmailAddress) -> "User":
        """Make a new user, and record UserRegistered."""
        user = cls(user_id, name, email)
        user.record(events.UserRegistered(user_id=user_id, name=str(name), email=str(email)))
        return user

    @property
    def subject(self) -> str:
        return str(self.id)

    def ensure_same_registration(self, name: PersonName, email: EmailAddress) -> None:
        """Refuse a repeated registration if its data differ from those of this user."""
        if (name, email) != (self.name, self.email):
            raise UserAlreadyRegistered(self.id)

    def change_email(self, new: EmailAddress) -> None:
        """Take another address, or spelling of it, and record EmailChanged if it differs."""
        if (old := str(self.email)) != str(new):
            self.email, self.email_undeliverable = new, False
            self.record(events.EmailChanged(user_id=self.id, old_email=old, new_email=str(new)))

    def record_bounce(self, email: EmailAddress) -> None:
        """Mark the address as undeliverable, and record EmailBounced, if the user still has it."""
        if email == self.email and not self.email_undeliverable:
            self.email_undeliverable = True
            self.record(events.EmailBounced(user_id=self.id, email=str(self.email)))


class EmailAlreadyRegistered(RuleViolation, says="e-mail address {} is already registered"):
    """Another user has this e-mail address (compared case-insensitively)."""


class UserAlreadyRegistered(RuleViolation, says="user {} has another name or e-mail address"):
    """A user with this id exists, and has another name or e-mail address."""


class UserNotFound(RuleViolation, says="there is no user {}"):
    """No user has this id."""
