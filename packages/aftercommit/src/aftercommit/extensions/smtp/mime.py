"""How an e-mail is written down, whatever sends or keeps it."""

from email.message import EmailMessage
from email.utils import localtime
from typing import Protocol

from aftercommit.claims import IdempotencyKey


class Email(Protocol):
    """One e-mail to one recipient, as plain text: any object with these attributes."""

    @property
    def recipient(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def text(self) -> str: ...


def compose(
    email: Email, *, sender: str, idempotency_key: IdempotencyKey, application: str
) -> EmailMessage:
    """Return the message. Its Message-ID is made from the key: mail systems drop repetitions."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = email.recipient
    message["Date"] = localtime()
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{safe_key(idempotency_key)}@{application}>"
    message.set_content(email.text)
    return message


def safe_key(key: IdempotencyKey) -> str:
    """Return the key without the one character in it that ids and file names cannot have."""
    return key.replace(":", ".")
