"""E-mail by SMTP, to a real mail server: what it receives, and what happens when it does not."""

import asyncio
import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from smtplib import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
)
from socket import AF_INET, SOCK_STREAM
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from anyio import create_task_group, fail_after, move_on_after
from anyio.lowlevel import checkpoint

from allocation.adapters.smtp import (
    EmailRefused,
    MailServerUnavailable,
    SmtpNotifications,
    SmtpServer,
    conversation,
)
from allocation.adapters.smtp import notifications as smtp_notifications
from allocation.adapters.smtp.notifications import MAX_CONNECTIONS
from allocation.domain.exceptions import InvalidValue
from allocation.rooms import EVENT_LOOPS
from allocation.service_layer.delivery import IdempotencyKey, is_permanent
from allocation.service_layer.emails import Email
from tests.integration.smtp.hostile import (
    Behaviour,
    HostileServer,
    dripping_tls,
    endless,
    hanging_up,
    misbehaving,
    scripted,
    silent,
    threads_in,
    unreachable,
)

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 60
EVENT_ID = "6f1d2c3b-0000-4000-8000-000000000001"
SENDER = "shop@example.com"
KEY = IdempotencyKey(f"{EVENT_ID}:send_welcome_email")


@dataclass
class Mailbox:
    """Accepts every e-mail and keeps it, with the envelope it came in."""

    emails: list[EmailMessage] = field(default_factory=list)
    senders: list[str | None] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802  # the mail server looks for this name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        content = envelope.content.replace(b"\r\n", b"\n")
        self.emails.append(message_from_bytes(content, policy=policy.default))
        self.senders.append(envelope.mail_from)
        self.recipients.extend(envelope.rcpt_tos)
        return "250 OK"


@dataclass
class MeetingPlace(Mailbox):
    """Accepts e-mails only when as many as may come at once have come."""

    all_here: asyncio.Barrier = field(default_factory=lambda: asyncio.Barrier(MAX_CONNECTIONS))

    async def handle_DATA(  # noqa: N802  # the mail server looks for this name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.all_here.wait()
        return await super().handle_DATA(server, session, envelope)


@dataclass
class Silence:
    """Takes an e-mail and says nothing, until the limit or until the other side hangs up."""

    began: bool = False
    broken: bool = False
    ended: bool = False

    async def handle_DATA(  # noqa: N802  # the mail server looks for this name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.began = True
        try:
            await asyncio.wait_for(asyncio.Event().wait(), LIMIT_SECONDS)
        except asyncio.CancelledError:
            self.broken = True
            raise
        finally:
            self.ended = not self.broken
        return "250 OK"


@contextmanager
def serving(handler: object, port: int, **options: Any) -> Iterator[SmtpServer]:
    """Run a mail server, in a thread of its own."""
    controller = Controller(
        handler, hostname="127.0.0.1", port=port, server_hostname="localhost", **options
    )
    controller.start()
    try:
        yield SmtpServer(host="127.0.0.1", port=port)
    finally:
        controller.stop()


@pytest.fixture(params=EVENT_LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on both event loops: nothing here needs a database."""
    return str(request.param)


@pytest.fixture
def mailbox() -> Mailbox:
    """Where accepted e-mails are kept."""
    return Mailbox()


@pytest.fixture
def mail_server(mailbox: Mailbox, free_tcp_port: int) -> Iterator[SmtpServer]:
    """A mail server that accepts everything, in clear text."""
    with serving(mailbox, free_tcp_port) as server:
        yield server


@pytest.fixture
def ascii_server(mailbox: Mailbox, free_tcp_port: int) -> Iterator[SmtpServer]:
    """A mail server that knows no international addresses."""
    with serving(mailbox, free_tcp_port, enable_SMTPUTF8=False) as server:
        yield server


@pytest.fixture
def meeting_place(free_tcp_port: int) -> Iterator[tuple[SmtpServer, MeetingPlace]]:
    """A mail server that holds every e-mail until as many as may come at once have come."""
    handler = MeetingPlace()
    with serving(handler, free_tcp_port) as server:
        yield server, handler


@pytest.fixture
def silent_server(free_tcp_port: int) -> Iterator[tuple[SmtpServer, Silence]]:
    """A mail server that never says that it has accepted an e-mail."""
    handler = Silence()
    with serving(handler, free_tcp_port) as server:
        yield server, handler


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no system trusts by itself."""
    return trustme.CA()


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Where OpenSSL can read the authority, if it is told to trust it."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def tls_context(authority: trustme.CA) -> ssl.SSLContext:
    """The certificate of a mail server on 127.0.0.1, and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(params=["starttls", "smtps"])
def tls_server(
    request: pytest.FixtureRequest,
    mailbox: Mailbox,
    tls_context: ssl.SSLContext,
    free_tcp_port: int,
) -> Iterator[SmtpServer]:
    """A mail server that insists on encryption, of the one kind or the other."""
    if request.param == "smtps":
        with serving(mailbox, free_tcp_port, ssl_context=tls_context) as server:
            yield replace(server, tls=True)
    else:
        options = {"tls_context": tls_context, "require_starttls": True}
        with serving(mailbox, free_tcp_port, **options) as server:
            yield replace(server, starttls=True)


@pytest.fixture
def members_only(
    mailbox: Mailbox, tls_context: ssl.SSLContext, free_tcp_port: int
) -> Iterator[int]:
    """The port of a mail server that insists on encryption and then on a password."""
    options = {"tls_context": tls_context, "auth_required": True, "authenticator": _authenticate}
    with serving(mailbox, free_tcp_port, **options):
        yield free_tcp_port


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
) -> AuthResult:
    expected = LoginPassword(b"ivan@example.com", b"p@ss:w/rd?#%")
    return AuthResult(success=given == expected, handled=False)


def sending_to(server: HostileServer, *, timeout: float = LIMIT_SECONDS) -> SmtpNotifications:
    return SmtpNotifications(SmtpServer.from_url(server.url), sender=SENDER, timeout=timeout)


async def until(condition: Callable[[], bool]) -> None:
    with fail_after(LIMIT_SECONDS):
        while not condition():
            await checkpoint()


def an_email(
    *, recipient: str = "ivan@example.com", subject: str = "Welcome", text: str = "Hello\n"
) -> Email:
    return Email(recipient=recipient, subject=subject, text=text)


async def test_an_email_arrives_as_it_was_written(
    mail_server: SmtpServer, mailbox: Mailbox
) -> None:
    """Names are of any script, and headers are not: this is where encodings get lost."""
    email = an_email(subject="Welcome, Иван", text="Hello Иван,\n\nwelcome!\n")

    await SmtpNotifications(mail_server, sender=SENDER).send(email, idempotency_key=KEY)

    [received] = mailbox.emails
    assert received["From"] == SENDER
    assert received["To"] == "ivan@example.com"
    assert received["Subject"] == "Welcome, Иван"
    assert received.get_content() == "Hello Иван,\n\nwelcome!\n"
    assert mailbox.senders == [SENDER]
    assert mailbox.recipients == ["ivan@example.com"]


async def test_a_recipient_is_never_what_a_header_is_decoded_into(
    mail_server: SmtpServer, mailbox: Mailbox
) -> None:
    """Read back from its header, this one address is two, and Eve gets somebody else's coupon."""
    recipient = "=?utf-8?q?eve=40example=2Ecom=2C?=ivan@example.com"
    notifications = SmtpNotifications(mail_server, sender=SENDER)

    with pytest.raises(EmailRefused) as caught:
        await notifications.send(an_email(recipient=recipient), idempotency_key=KEY)

    assert isinstance(caught.value.__cause__, SMTPRecipientsRefused)
    assert caught.value.__cause__.recipients.keys() == {recipient}
    assert mailbox.recipients == []


async def test_a_sender_is_never_what_a_header_is_decoded_into(
    mail_server: SmtpServer, mailbox: Mailbox
) -> None:
    """E-mails that cannot be delivered come back to the sender: read back, that would be Eve."""
    sender = "=?utf-8?q?eve=40example=2Ecom=2C?=shop@example.com"

    with pytest.raises(EmailRefused) as caught:
        await SmtpNotifications(mail_server, sender=sender).send(an_email(), idempotency_key=KEY)

    assert isinstance(caught.value.__cause__, SMTPSenderRefused)
    assert caught.value.__cause__.sender == sender
    assert mailbox.senders == []


async def test_an_email_tells_when_it_was_sent(mail_server: SmtpServer, mailbox: Mailbox) -> None:
    """RFC 5322 requires a date, and mail without one is taken for spam."""
    before = datetime.now(UTC).replace(microsecond=0)

    await SmtpNotifications(mail_server, sender=SENDER).send(an_email(), idempotency_key=KEY)

    [received] = mailbox.emails
    assert before <= received["Date"].datetime <= datetime.now(UTC)


async def test_a_repeated_email_has_the_same_message_id_and_another_one_has_not(
    mail_server: SmtpServer, mailbox: Mailbox
) -> None:
    """Delivery is at least once: the Message-ID lets mail systems drop a repetition."""
    notifications = SmtpNotifications(mail_server, sender=SENDER)
    other_key = IdempotencyKey(f"{EVENT_ID}:send_coupon_email")

    await notifications.send(an_email(), idempotency_key=KEY)
    await notifications.send(an_email(), idempotency_key=KEY)
    await notifications.send(an_email(), idempotency_key=other_key)

    ids = [str(email["Message-ID"]).strip() for email in mailbox.emails]
    assert ids == [
        f"<{EVENT_ID}.send_welcome_email@allocation>",
        f"<{EVENT_ID}.send_welcome_email@allocation>",
        f"<{EVENT_ID}.send_coupon_email@allocation>",
    ]


async def test_an_international_address_is_delivered_to(
    mail_server: SmtpServer, mailbox: Mailbox
) -> None:
    """The model accepts addresses of any script, so they have to work."""
    email = an_email(recipient="иван@пример.рф")

    await SmtpNotifications(mail_server, sender=SENDER).send(email, idempotency_key=KEY)

    [received] = mailbox.emails
    assert mailbox.recipients == ["иван@пример.рф"]
    assert received["To"] == "иван@пример.рф"


async def test_a_server_without_international_addresses_gets_no_mangled_one(
    ascii_server: SmtpServer, mailbox: Mailbox
) -> None:
    """A mangled address is that of somebody else."""
    email = an_email(recipient="иван@example.com")

    with pytest.raises(EmailRefused, match="SMTPUTF8"):
        await SmtpNotifications(ascii_server, sender=SENDER).send(email, idempotency_key=KEY)

    assert mailbox.emails == []


async def test_a_server_that_is_not_there_is_unavailable(free_tcp_port: int) -> None:
    """The delivery is tried again; swallowing the error would lose the e-mail."""
    server = SmtpServer(host="127.0.0.1", port=free_tcp_port)

    with pytest.raises(MailServerUnavailable, match="127.0.0.1.*Connection refused"):
        await SmtpNotifications(server, sender=SENDER).send(an_email(), idempotency_key=KEY)


FOR_GOOD = [
    {"MAIL": "550 nobody"},
    {"MAIL": "501 bad address"},
    {"RCPT": "550 nobody"},
    {"RCPT": "553 bad address"},
    {"DATA": "554 no"},
    {"end": "552 too large"},
    {"end": "554 spam"},
]


@pytest.mark.parametrize("replies", FOR_GOOD, ids=str)
async def test_a_refusal_for_good_parks_the_email_at_once(replies: dict[str, str]) -> None:
    """Ten attempts change nothing; the reason has to reach whoever looks at the parked delivery."""
    [reason] = replies.values()
    with (
        misbehaving(scripted(**replies)) as server,
        pytest.raises(EmailRefused, match=reason) as caught,
    ):
        await sending_to(server).send(an_email(), idempotency_key=KEY)

    assert is_permanent(caught.value)


FOR_NOW = [
    {"MAIL": "451 later"},
    {"MAIL": "530 log in first"},
    {"RCPT": "450 later"},
    {"RCPT": "452 mailbox full"},
    {"DATA": "451 later"},
    {"end": "451 greylisted"},
    {"EHLO": "550 no", "HELO": "550 no"},
    {"AUTH": "535 wrong password", "EHLO": "250-localhost\r\n250 AUTH PLAIN"},
    {"AUTH": "454 later", "EHLO": "250-localhost\r\n250 AUTH PLAIN"},
    {"AUTH": "500 what?"},  # it offers none
]


@pytest.mark.parametrize("replies", FOR_NOW, ids=str)
async def test_a_refusal_that_may_pass_is_tried_again_and_hurts_no_other_email(
    replies: dict[str, str],
) -> None:
    """Mailboxes are emptied and passwords corrected; meanwhile others get their e-mails."""
    account = "ivan:hunter2@" if "AUTH" in replies else ""
    with misbehaving(scripted(**replies)) as server:
        url = server.url.replace("//", f"//{account}")
        notifications = SmtpNotifications(SmtpServer.from_url(url), sender=SENDER)
        for attempt in (1, 2):
            with pytest.raises(SMTPException) as caught:
                await notifications.send(an_email(), idempotency_key=KEY)

            assert not is_permanent(caught.value)
            assert server.connections == attempt


AWAY = [
    scripted(banner="421 too busy"),
    scripted(banner="554 not for you"),
    scripted(banner="hello?"),
    scripted(MAIL="421 closing"),
    scripted(RCPT="421 closing"),
    scripted(end="421 closing"),
    scripted(DATA=""),
    hanging_up,
]


@pytest.mark.parametrize("behaviour", AWAY)
async def test_a_server_that_is_away_is_left_alone_for_a_while(behaviour: Behaviour) -> None:
    """Nobody waits for what is known to fail, and the error says why, without the e-mail."""
    with misbehaving(behaviour) as server:
        notifications, email = sending_to(server), an_email(text="hunter2")
        with pytest.raises(MailServerUnavailable) as first:
            await notifications.send(email, idempotency_key=KEY)
        with pytest.raises(MailServerUnavailable, match="left alone for a while") as second:
            await notifications.send(email, idempotency_key=KEY)

        assert server.connections == 1
    assert first.value.reason in str(second.value)
    assert not is_permanent(second.value)
    assert "hunter2" not in "".join(traceback.format_exception(second.value))


async def test_after_a_while_one_email_tries_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stays silent must not take all hands again and again."""
    monkeypatch.setattr(smtp_notifications, "PAUSE_SECONDS", 0)
    errors: list[MailServerUnavailable] = []

    async def send() -> None:
        with pytest.raises(MailServerUnavailable) as caught:
            await notifications.send(an_email(), idempotency_key=KEY)
        errors.append(caught.value)

    with misbehaving(scripted(stuck_at="MAIL")) as server:
        notifications = sending_to(server, timeout=0.3)
        async with create_task_group() as group:
            for _ in range(5):
                group.start_soon(send)
        assert server.connections == 5

        with fail_after(LIMIT_SECONDS):
            while server.connections == 5:
                async with create_task_group() as group:
                    for _ in range(5):
                        group.start_soon(send)

        assert server.connections == 6
    assert sum("left alone" not in str(error) for error in errors) == 6


async def test_a_server_that_is_back_gets_all_emails(
    mail_server: SmtpServer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage must not last longer for us than for the others."""
    monkeypatch.setattr(smtp_notifications, "PAUSE_SECONDS", 0)
    notifications = SmtpNotifications(mail_server, sender=SENDER)
    with monkeypatch.context() as outage:
        outage.setattr(notifications, "_server", replace(mail_server, port=1))
        with pytest.raises(MailServerUnavailable):
            await notifications.send(an_email(), idempotency_key=KEY)

    with fail_after(LIMIT_SECONDS):
        while not mailbox.emails:
            with suppress(MailServerUnavailable):
                await notifications.send(an_email(), idempotency_key=KEY)
    async with create_task_group() as group:
        for _ in range(5):
            group.start_soon(partial(notifications.send, an_email(), idempotency_key=KEY))

    assert len(mailbox.emails) == 6


STAGES = ["banner", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "."]
OFFERS = "250-localhost\r\n250-STARTTLS\r\n250 AUTH PLAIN"
STUCK = {stage: scripted(stuck_at=stage, EHLO=OFFERS) for stage in STAGES}
STUCK |= {"silence": silent, "lines": endless, "TLS": dripping_tls, "no answer in TLS": silent}
URLS = {
    "STARTTLS": "smtp://127.0.0.1:{}?starttls=1",
    "AUTH": "smtp://ivan:hunter2@127.0.0.1:{}",
    "TLS": "smtps://127.0.0.1:{}",
    "no answer in TLS": "smtps://127.0.0.1:{}",
}


@pytest.mark.parametrize("stage", STUCK)
async def test_no_server_holds_an_email_longer_than_the_limit(stage: str) -> None:
    """Limiting each read is not enough: a byte a second is a read each. Nothing is left behind."""
    with misbehaving(STUCK[stage]) as server:
        url = URLS.get(stage, "smtp://127.0.0.1:{}").format(server.port)
        notifications = SmtpNotifications(SmtpServer.from_url(url), sender=SENDER, timeout=0.3)

        with fail_after(LIMIT_SECONDS):
            with pytest.raises(MailServerUnavailable, match="took longer than 0.3 s"):
                await notifications.send(an_email(), idempotency_key=KEY)

        assert threads_in("adapters/smtp/conversation.py") == 0
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("stage", STUCK)
async def test_an_email_can_be_cancelled_at_every_stage(stage: str) -> None:
    """A slow mail server must hold up neither a time limit nor the end of the program."""
    with misbehaving(STUCK[stage]) as server:
        url = URLS.get(stage, "smtp://127.0.0.1:{}").format(server.port)
        notifications = SmtpNotifications(SmtpServer.from_url(url), sender=SENDER)

        with fail_after(LIMIT_SECONDS), move_on_after(0.1) as scope:
            await notifications.send(an_email(), idempotency_key=KEY)

        assert scope.cancelled_caught
        assert threads_in("adapters/smtp/conversation.py") == 0
        await until(lambda: server.open == 0)


async def test_a_connection_that_is_never_made_is_given_up() -> None:
    """A firewall drops what it does not like, and says nothing."""
    with unreachable() as port:
        server = SmtpServer(host="127.0.0.1", port=port)
        notifications = SmtpNotifications(server, sender=SENDER, timeout=0.3)

        with fail_after(LIMIT_SECONDS), pytest.raises(MailServerUnavailable, match="longer than"):
            await notifications.send(an_email(), idempotency_key=KEY)


async def test_a_silent_address_leaves_time_for_the_next(
    mail_server: SmtpServer, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many names have an address of IPv6 that leads nowhere."""
    with unreachable() as port:
        nowhere, there = ("127.0.0.1", port), ("127.0.0.1", mail_server.port)

        async def two_addresses(*_: object, **__: object) -> list[tuple[Any, ...]]:
            return [(AF_INET, SOCK_STREAM, 0, "", address) for address in (nowhere, there)]

        monkeypatch.setattr(conversation, "getaddrinfo", two_addresses)
        notifications = SmtpNotifications(mail_server, sender=SENDER, timeout=2)

        await notifications.send(an_email(), idempotency_key=KEY)

    assert mailbox.recipients == ["ivan@example.com"]


@pytest.mark.parametrize(
    "behaviour",
    [scripted(QUIT=""), scripted(QUIT="554 what?"), scripted(stuck_at="QUIT")],
    ids=["hangs up", "refuses", "drips"],
)
async def test_what_follows_the_acceptance_is_no_failure(behaviour: Behaviour) -> None:
    """The e-mail is sent: ten attempts would be ten copies."""
    with misbehaving(behaviour) as server:
        with fail_after(LIMIT_SECONDS):
            await sending_to(server).send(an_email(), idempotency_key=KEY)

        assert server.taken == 1


async def test_neither_code_nor_text_of_an_email_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A coupon's code is money, and logs are read by many."""
    caplog.set_level(logging.DEBUG)
    for behaviour in (scripted(), scripted(end="554 no"), scripted(DATA="")):
        with misbehaving(behaviour) as server, suppress(EmailRefused, MailServerUnavailable):
            await sending_to(server).send(an_email(text="hunter2"), idempotency_key=KEY)

    assert "hunter2" not in caplog.text


async def test_emails_are_sent_concurrently(
    meeting_place: tuple[SmtpServer, MeetingPlace],
) -> None:
    """A slow mail server must hold up neither the event loop nor the other e-mails."""
    server, handler = meeting_place
    notifications = SmtpNotifications(server, sender=SENDER)
    recipients = [f"user{number}@example.com" for number in range(MAX_CONNECTIONS)]

    async def send(recipient: str) -> None:
        await notifications.send(an_email(recipient=recipient), idempotency_key=KEY)

    async with create_task_group() as group:
        for recipient in recipients:
            group.start_soon(send, recipient)

    assert sorted(handler.recipients) == sorted(recipients)


async def test_a_cancelled_email_hangs_up_on_the_mail_server(
    silent_server: tuple[SmtpServer, Silence],
) -> None:
    """A slow mail server must hold up neither a time limit nor the end of the program."""
    server, silence = silent_server
    notifications = SmtpNotifications(server, sender=SENDER)

    async def send() -> None:
        await notifications.send(an_email(), idempotency_key=KEY)

    async with create_task_group() as group:
        group.start_soon(send)
        with fail_after(LIMIT_SECONDS):
            while not silence.began:
                await checkpoint()
        group.cancel_scope.cancel()

    assert not silence.ended
    with fail_after(LIMIT_SECONDS):
        while not silence.broken:
            await checkpoint()


async def test_a_certificate_of_a_stranger_is_refused(
    tls_server: SmtpServer, mailbox: Mailbox
) -> None:
    """Encryption without this would hand the e-mail, and the password, to anybody."""
    with pytest.raises(MailServerUnavailable, match="certificate verify failed"):
        await SmtpNotifications(tls_server, sender=SENDER).send(an_email(), idempotency_key=KEY)

    assert mailbox.emails == []


async def test_a_certificate_of_a_trusted_authority_is_accepted(
    tls_server: SmtpServer,
    mailbox: Mailbox,
    authority_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server accepts nothing in clear text, so what arrives was encrypted."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)

    await SmtpNotifications(tls_server, sender=SENDER).send(an_email(), idempotency_key=KEY)

    assert mailbox.recipients == ["ivan@example.com"]


async def test_a_trusted_certificate_of_another_host_is_refused(
    tls_server: SmtpServer,
    mailbox: Mailbox,
    authority_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Anybody can have a good certificate of a host of their own."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    same_server_other_name = replace(tls_server, host="localhost")

    with pytest.raises(MailServerUnavailable, match="Hostname mismatch"):
        await SmtpNotifications(same_server_other_name, sender=SENDER).send(
            an_email(), idempotency_key=KEY
        )

    assert mailbox.emails == []


async def test_the_user_and_the_password_of_the_url_are_used_after_encryption(
    members_only: int,
    mailbox: Mailbox,
    authority_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A good password has characters that mean something else in a URL."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    account = "ivan%40example.com:p%40ss%3Aw%2Frd%3F%23%25"
    server = SmtpServer.from_url(f"smtp://{account}@127.0.0.1:{members_only}?starttls=1")

    await SmtpNotifications(server, sender=SENDER).send(an_email(), idempotency_key=KEY)

    assert mailbox.recipients == ["ivan@example.com"]


async def test_a_wrong_password_is_an_error_that_does_not_repeat_it(
    members_only: int,
    mailbox: Mailbox,
    authority_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error is stored with the delivery and logged."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    account = "ivan%40example.com:hunter2"
    server = SmtpServer.from_url(f"smtp://{account}@127.0.0.1:{members_only}?starttls=1")

    with pytest.raises(SMTPAuthenticationError) as caught:
        await SmtpNotifications(server, sender=SENDER).send(an_email(), idempotency_key=KEY)

    assert "hunter2" not in str(caught.value)
    assert mailbox.emails == []


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", SmtpServer(host="mail.example.com", port=25)),
        ("smtp://mail.example.com:2525", SmtpServer(host="mail.example.com", port=2525)),
        ("smtp://[::1]:2525", SmtpServer(host="::1", port=2525)),
        ("smtps://mail.example.com", SmtpServer(host="mail.example.com", port=465, tls=True)),
        ("smtps://mail.example.com:587", SmtpServer(host="mail.example.com", port=587, tls=True)),
        (
            "smtp://mail.example.com:587?starttls=1",
            SmtpServer(host="mail.example.com", port=587, starttls=True),
        ),
        (
            "smtp://ivan@mail.example.com",
            SmtpServer(host="mail.example.com", port=25, user="ivan", password=""),
        ),
        (
            "smtp://ivan%40example.com:p%40ss%3A%2F%25@mail.example.com",
            SmtpServer(
                host="mail.example.com", port=25, user="ivan@example.com", password="p@ss:/%"
            ),
        ),
    ],
)
def test_a_url_says_how_to_reach_a_mail_server(url: str, server: SmtpServer) -> None:
    """One setting says it all; the ports are those of the standard."""
    assert SmtpServer.from_url(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "ivan:hunter2@mail.example.com",
        "http://ivan:hunter2@mail.example.com",
        "smtp:ivan:hunter2@mail.example.com",
        "smtp://",
        "smtp://ivan:hunter2@",
        "smtp://ivan:hunter2@:25",
        "smtp://ivan:hunter2@mail.example.com:smtp",
        "smtp://ivan:hunter2@mail.example.com:99999",
        "smtp://ivan:hunter2@[::1",
        "smtp://ivan:hunter2/@mail.example.com",
        "smtp://ivan:hunter2@mail.example.com:0",
        "smtp://ivan:hunter2@mail.example.com/",
        "smtp://ivan:hunter2@mail.example.com:25/inbox?starttls=1",
        "smtp://ivan:hunter2@mail.example.com#starttls=1",
        "smtps://ivan:hunter2@mail.example.com:465#tls",
        "smtp://%D0%B8:hunter2@mail.example.com",
        "smtp://:hunter2@mail.example.com",
        "smtp://ivan:hunter2@ma il.example.com",
        "smtp://ivan:hunter2@mail\n.example.com",
    ],
)
def test_a_url_that_is_not_understood_is_refused_without_repeating_it(url: str) -> None:
    """It is most likely a typing mistake beside a password, and errors get logged."""
    assert_is_refused_without_repeating_it(url)


@pytest.mark.parametrize(
    "query",
    ["starttls=true", "STARTTLS=1", "starttls", "starttls=", "starttls=0", "starttls=1&", "tls=1"],
)
def test_a_misspelt_request_for_encryption_is_refused(query: str) -> None:
    """To ignore it would send the password in clear text."""
    assert_is_refused_without_repeating_it(f"smtp://ivan:hunter2@mail.example.com?{query}")


@pytest.mark.parametrize("query", ["starttls=1", "starttls=0", "tls=1"])
def test_encryption_from_the_start_takes_no_other_request(query: str) -> None:
    """One of the two would silently not mean what it says."""
    assert_is_refused_without_repeating_it(f"smtps://ivan:hunter2@mail.example.com?{query}")


@pytest.mark.parametrize("delimiter", ["/", "?", "#"])
def test_a_password_that_ends_the_url_too_early_is_refused(delimiter: str) -> None:
    """What stands before the password would be the host, and get the e-mails."""
    assert_is_refused_without_repeating_it(f"smtp://ivan:25{delimiter}hunter2@mail.example.com")


@pytest.mark.parametrize("letter", ["ü", "%C3%BC", "%FC"])
def test_a_password_that_cannot_be_sent_is_refused_at_start(letter: str) -> None:
    """SMTP clients send ASCII: every e-mail would fail, one by one."""
    assert_is_refused_without_repeating_it(f"smtp://ivan:hunter2{letter}@mail.example.com")


def test_the_password_does_not_show_in_repr() -> None:
    """A repr is what ends up in logs and error reports."""
    server = SmtpServer.from_url("smtp://ivan:hunter2@mail.example.com")

    assert "hunter2" not in repr(server)
    assert "mail.example.com" in repr(server)


def assert_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidValue, match="^mail URL ") as caught:
        SmtpServer.from_url(url)

    report = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in report
    assert "mail.example.com" not in report
