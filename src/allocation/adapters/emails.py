"""An e-mail as it travels, by whatever way: its headers, and an id that a repetition shares."""

from email.message import EmailMessage
from email.utils import localtime

from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email


def compose(email: Email, *, sender: str, idempotency_key: IdempotencyKey) -> EmailMessage:
    """Return the message. Its Message-ID is made from the key: mail systems drop repetitions."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = email.recipient
    message["Date"] = localtime()
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{name_of(idempotency_key)}@allocation>"
    message.set_content(email.text)
    return message


def name_of(idempotency_key: IdempotencyKey) -> str:
    """Return the key without the one character in it that ids and file names cannot have."""
    return idempotency_key.replace(":", ".")
