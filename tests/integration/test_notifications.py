"""E-mail, sent to a real mail server: what it receives, and what happens when it does not."""

import asyncio
import logging
import ssl
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from smtplib import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
)
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

from allocation.adapters.notifications import (
    MAX_CONNECTIONS,
    ConsoleNotifications,
    SmtpNotifications,
    SmtpServer,
)
from allocation.domain.exceptions import InvalidValue
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 5
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


class Stranger:
    """Knows no recipient."""

    async def handle_RCPT(  # noqa: N802  # the mail server looks for this name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        return "550 no such user here"


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


@pytest.fixture(params=["asyncio", "trio"])
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
def refusing_server(free_tcp_port: int) -> Iterator[SmtpServer]:
    """A mail server that refuses every recipient."""
    with serving(Stranger(), free_tcp_port) as server:
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

    with pytest.raises(SMTPRecipientsRefused) as caught:
        await notifications.send(an_email(recipient=recipient), idempotency_key=KEY)

    assert caught.value.recipients.keys() == {recipient}
    assert mailbox.recipients == []


async def test_a_sender_is_never_what_a_header_is_decoded_into(
    mail_server: SmtpServer, mailbox: Mailbox
) -> None:
    """E-mails that cannot be delivered come back to the sender: read back, that would be Eve."""
    sender = "=?utf-8?q?eve=40example=2Ecom=2C?=shop@example.com"

    with pytest.raises(SMTPSenderRefused) as caught:
        await SmtpNotifications(mail_server, sender=sender).send(an_email(), idempotency_key=KEY)

    assert caught.value.sender == sender
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

    with pytest.raises(SMTPNotSupportedError):
        await SmtpNotifications(ascii_server, sender=SENDER).send(email, idempotency_key=KEY)

    assert mailbox.emails == []


async def test_a_server_that_is_not_there_is_an_os_error(free_tcp_port: int) -> None:
    """The delivery is tried again; swallowing the error would lose the e-mail."""
    server = SmtpServer(host="127.0.0.1", port=free_tcp_port)

    with pytest.raises(ConnectionRefusedError):
        await SmtpNotifications(server, sender=SENDER).send(an_email(), idempotency_key=KEY)


async def test_a_server_that_refuses_is_an_smtp_exception(refusing_server: SmtpServer) -> None:
    """The reason has to reach whoever looks at the parked delivery."""
    with pytest.raises(SMTPException, match="no such user here"):
        await SmtpNotifications(refusing_server, sender=SENDER).send(
            an_email(), idempotency_key=KEY
        )


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
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
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

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
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


async def test_the_console_shows_the_whole_email_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a mail server, the log is the only place to see what would have been sent."""
    caplog.set_level(logging.INFO, logger="allocation")
    email = an_email(subject="Welcome, Иван", text="Hello Иван,\n\nwelcome!\n")

    await ConsoleNotifications().send(email, idempotency_key=KEY)

    [record] = caplog.records
    assert record.levelno == logging.INFO
    line = record.getMessage()
    assert "\n" not in line
    for part in (KEY, "ivan@example.com", "Welcome, Иван", "Hello Иван,", "welcome!"):
        assert part in line


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
    with pytest.raises(InvalidValue, match="^SMTP URL ") as caught:
        SmtpServer.from_url(url)

    report = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in report
    assert "mail.example.com" not in report
