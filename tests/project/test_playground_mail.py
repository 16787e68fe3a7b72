"""The mail server: what has arrived can be read and shown at any moment, whatever was sent."""

from pathlib import Path
from smtplib import SMTP

import pytest
from anyio import to_thread

from playground.mail import mail_server

pytestmark = pytest.mark.anyio


async def send(port: int, number: int, *, recipient: str = "ivan@example.com") -> None:
    def send() -> None:
        text = f"Message-ID: <{number}@example.com>\nSubject: Welcome\n\nHello"
        with SMTP("127.0.0.1", port) as client:
            client.ehlo()
            client.command_encoding = "latin-1"  # each character is sent as one byte
            client.sendmail("shop@example.com", recipient, text)

    await to_thread.run_sync(send)


async def test_emails_that_arrive_do_not_disturb_those_who_read(tmp_path: Path) -> None:
    """The server has a thread of its own; the panel shows what there is at that moment."""
    async with mail_server(tmp_path) as (mailboxes, proxy):
        await send(proxy.port, 1)
        await send(proxy.port, 2)

        read = []
        for email in mailboxes.received:
            read.append(email.number)
            await send(proxy.port, 2)

        assert read == [1, 2]
        assert mailboxes.count == 4
        assert [email.is_repeated for email in mailboxes.received] == [False, False, True, True]


async def test_a_recipient_that_is_not_text_can_be_shown(tmp_path: Path) -> None:
    """Any program of this machine can connect; the panel would show nothing any more."""
    async with mail_server(tmp_path) as (mailboxes, proxy):
        await send(proxy.port, 1, recipient="\xff@example.com")

        assert [email.recipient for email in mailboxes.received] == ["?@example.com"]
