"""A real mail server that can be told what to do."""

import asyncio
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class MailServer:
    """A mail server that keeps what it was given, or refuses or holds everything if told so."""

    url: str = ""
    refusing: bool = False
    holding: threading.Event = field(default_factory=threading.Event)
    hold: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    received: list[tuple[str, str, str]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take one e-mail; the name is what aiosmtpd calls."""
        if self.refusing:
            return "451 come back later"
        if self.hold:
            self.holding.set()
            await asyncio.to_thread(self.release.wait)
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        self.received.append((str(message["To"]), str(message["Subject"]), message["Message-ID"]))
        return "250 OK"

    def message_ids(self, recipient: str, subject: str) -> list[str]:
        """Return the Message-IDs of these e-mails, one for each time they arrived."""
        return [key for to, what, key in self.received if (to, what) == (recipient, subject)]
