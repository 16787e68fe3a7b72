"""Where e-mails arrive: a folder, or a server (`mail_server.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Protocol

Received = tuple[str, str, str]
"""Recipient, subject and Message-ID."""


class Mail(Protocol):
    """What a test needs of either."""

    refusing: bool

    @property
    def url(self) -> str:
        """What the application is told."""

    @property
    def received(self) -> Sequence[Received]:
        """What has arrived."""


@dataclass
class MailFolder:
    """A Maildir, which refuses while there is a file in its place."""

    folder: Path

    @property
    def url(self) -> str:
        return f"maildir:{self.folder}"

    @property
    def refusing(self) -> bool:
        return self.folder.is_file()

    @refusing.setter
    def refusing(self, refuses: bool) -> None:
        if refuses:
            self.folder.write_text("no extension")
        else:
            self.folder.unlink()

    @property
    def received(self) -> Sequence[Received]:
        return [read_email(file.read_bytes()) for file in self.folder.glob("new/*")]


def read_email(content: bytes) -> Received:
    message = message_from_bytes(content, policy=policy.default)
    return str(message["To"]), str(message["Subject"]), str(message["Message-ID"])


def message_ids(mail: Mail, recipient: str, subject: str) -> list[str]:
    """Return the Message-IDs of these e-mails, one for each time they arrived."""
    return [key for to, what, key in mail.received if (to, what) == (recipient, subject)]
