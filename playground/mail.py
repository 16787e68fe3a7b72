"""The mail server: aiosmtpd, in a thread of its own, on a socket in the playground's folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path

from aiosmtpd.controller import UnixSocketController
from aiosmtpd.smtp import SMTP, Envelope, Session
from anyio import CancelScope, connect_unix, create_task_group, to_thread

from playground.fault_proxy import FaultProxy

KEPT = 5000  # e-mails


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A received e-mail."""

    number: int
    at: datetime
    recipient: str
    subject: str
    message_id: str
    is_repeated: bool  # one with this Message-ID has arrived before


@dataclass(slots=True)
class Mailboxes:
    """The mail server's behaviour: accepts all e-mails except those to unknown mailboxes.

    The mail server's thread adds to `received` while the event loop reads it. Each e-mail therefore
    replaces the whole tuple: a deque raises RuntimeError if it changes while somebody iterates it.
    """

    received: tuple[Received, ...] = ()
    unknown: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """How many e-mails have arrived, including those that are no longer kept."""
        return self.received[-1].number if self.received else 0

    async def handle_RCPT(  # noqa: N802 the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept a recipient, or refuse it for good."""
        if address in self.unknown:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Accept an e-mail."""
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        message_id = str(message["Message-ID"]).strip()
        email = Received(
            number=self.count + 1,
            at=datetime.now(UTC),
            # invalid UTF-8 is surrogates here, which JSON cannot encode
            recipient=envelope.rcpt_tos[0].encode(errors="replace").decode(),
            subject=str(message["Subject"]),
            message_id=message_id,
            is_repeated=any(each.message_id == message_id for each in self.received),
        )
        self.received = (*self.received, email)[-KEPT:]
        return "250 OK"

    def to(self, recipient: str, subject: str) -> list[Received]:
        """Return the e-mails to somebody whose subject begins like this, each Message-ID once.

        They are sent at least once: a busy machine repeats an e-mail whose lease has ended.
        """
        return [
            email
            for email in self.received
            if email.recipient == recipient and email.subject.startswith(subject)
            if not email.is_repeated
        ]


@asynccontextmanager
async def mail_server(folder: Path) -> AsyncIterator[tuple[Mailboxes, FaultProxy]]:
    """Run the mail server, and the proxy in front of it."""
    mailboxes, address = Mailboxes(), folder / "mail.socket"
    controller = UnixSocketController(mailboxes, address)
    await to_thread.run_sync(controller.start)
    try:
        async with create_task_group() as group:
            proxy = FaultProxy(partial(connect_unix, address))
            group.start_soon(proxy.run)
            await proxy.settled()
            yield mailboxes, proxy
            group.cancel_scope.cancel()
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(controller.stop)
