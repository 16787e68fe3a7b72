"""The ports: what handlers need of the outside. A test has its own."""

from dataclasses import dataclass
from typing import Protocol

from aftercommit import IdempotencyKey


@dataclass(frozen=True)
class Email:
    """An e-mail to one recipient."""

    recipient: str
    subject: str
    text: str


class EmailSender(Protocol):
    """Sends e-mails. That is an external effect: no rollback takes it back."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the e-mail is on its way. With the same key it is the same e-mail."""
