"""How an e-mail is written down, whatever sends or keeps it."""

from email.message import EmailMessage
from email.utils import localtime

from aftercommit import IdempotencyKey

from allocation.service_layer.emails import Email


def compose(email: Email, *, sender: str, idempotency_key: IdempotencyKey) -> EmailMessage:
    """Return the message. Its Message-ID is made from the key: mail systems drop repetitions."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = email.recipient
    message["Date"] = localtime()
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{safe_key(idempotency_key)}@allocation>"
    message.set_content(email.text)
    return message


def safe_key(key: IdempotencyKey) -> str:
    """Return the key without the one character in it that ids and file names cannot have."""
    return key.replace(":", ".")
