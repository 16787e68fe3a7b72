"""The message of an e-mail, in the form in which it is sent or kept."""

import re
from email.message import EmailMessage
from email.utils import localtime
from typing import Protocol
from unicodedata import category

from aftercommit.claims import IdempotencyKey
from aftercommit.extensions.smtp.exceptions import UnsafeHeader

DECODED = "=?"  # RFC 2047: what follows is decoded, into any characters
NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's controls, surrogates, separators
ADDRESS = re.compile(r'[^\s@<>()\[\],;:"\\]+@[^\s@<>()\[\],;:"\\]+')


class Email(Protocol):
    """An e-mail to one recipient, in plain text: any object with these attributes."""

    @property
    def recipient(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def text(self) -> str: ...


def compose(
    email: Email, *, sender: str, idempotency_key: IdempotencyKey, application: str
) -> EmailMessage:
    """Return the message. Its Message-ID is made from the key: mail systems drop repetitions.

    :raises UnsafeHeader: if the recipient is not one address, or if a header would be decoded
    """
    if not ADDRESS.fullmatch(email.recipient):
        raise UnsafeHeader("recipient")
    for header, text in {"recipient": email.recipient, "subject": email.subject}.items():
        if DECODED in text or any(category(each) in NOT_IN_A_LINE for each in text):
            raise UnsafeHeader(header)
    message = EmailMessage()
    message["From"] = sender
    message["To"] = email.recipient
    message["Date"] = localtime()
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{safe_key(idempotency_key)}@{application}>"
    message.set_content(email.text)
    return message


def safe_key(key: IdempotencyKey) -> str:
    """Return the key without the one character that ids and file names cannot have."""
    return key.replace(":", ".")
