"""A real mail server that can be told what to do."""

import asyncio
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, Envelope, Session

Received = tuple[str, str, str]
"""Recipient, subject and Message-ID."""


@dataclass
class MailServer:
    """A mail server that keeps what it was given, or refuses or holds everything if told so."""

    url: str = ""
    refusing: bool = False
    refusal: str = "451 come back later"
    holding: threading.Event = field(default_factory=threading.Event)
    hold: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    received: list[Received] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take one e-mail; the name is what aiosmtpd calls."""
        if self.refusing:
            return self.refusal
        if self.hold:
            self.holding.set()
            await asyncio.to_thread(self.release.wait)
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        names = ("To", "Subject", "Message-ID")
        self.received.append(tuple(str(message[name]) for name in names))  # type: ignore[arg-type]
        return "250 OK"
