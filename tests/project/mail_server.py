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
    unknown: str = ""  # the address that does not exist
    asked: list[str] = field(default_factory=list)  # for each e-mail, to whom it shall go
    holding: threading.Event = field(default_factory=threading.Event)
    hold: bool = False
    release: threading.Event = field(default_factory=threading.Event)
    received: list[Received] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, if there is one; the name is what aiosmtpd calls."""
        self.asked.append(address)
        if address == self.unknown:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

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
