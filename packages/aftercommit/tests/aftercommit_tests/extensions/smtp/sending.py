"""Sending an e-mail by SMTP, and a real mail server that keeps what it gets."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aftercommit import IdempotencyKey
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from aftercommit_tests.inside.smtp import SmtpEmailSender, SmtpServer

Send = Callable[..., Coroutine[Any, Any, None]]

LIMIT_SECONDS = 180
APPLICATION, SENDER = "shop", "shop@example.com"
KEY = IdempotencyKey("6f1d2c3b-0000-4000-8000-000000000001:send_welcome_email")


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """An e-mail as an application has it."""

    recipient: str
    subject: str
    text: str


AN_EMAIL = Email(recipient="ivan@example.com", subject="Welcome", text="Hello\n")


def sending_to(url: str, *, sender: str = SENDER, timeout: float = LIMIT_SECONDS) -> Send:
    """Return a function that sends an e-mail to this server."""
    email_sender = SmtpEmailSender(
        SmtpServer.from_url(url), sender=sender, application=APPLICATION, timeout=timeout
    )

    async def send(email: Email = AN_EMAIL, key: IdempotencyKey = KEY) -> None:
        await email_sender.send(email, idempotency_key=key)

    return send


@dataclass
class Mailbox:
    """Accepts every e-mail and keeps it, with the envelope it came in."""

    emails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str | None, list[str]]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take one e-mail; the name is what aiosmtpd calls."""
        assert isinstance(envelope.content, bytes)
        content = envelope.content.replace(b"\r\n", b"\n")
        self.emails.append(message_from_bytes(content, policy=policy.default))
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        return "250 OK"


@contextmanager
def keeping(mailbox: object, port: int, **options: Any) -> Iterator[int]:
    """Run a mail server, in a thread of its own, on this port; it asks `mailbox` what to do."""
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=port, server_hostname="localhost", **options
    )
    controller.start()
    try:
        yield port
    finally:
        controller.stop()
