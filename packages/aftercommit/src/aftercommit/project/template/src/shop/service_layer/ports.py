"""The ports: what handlers need from external systems. Tests have their own."""

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
    """Sends e-mails. This is an external effect: no rollback undoes it."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the e-mail is sent. With the same key, it is the same e-mail."""
