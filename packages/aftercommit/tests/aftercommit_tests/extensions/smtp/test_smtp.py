"""E-mail by SMTP: what a real mail server receives, and what the replies of others mean."""

import logging
import socket
import ssl
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from smtplib import SMTPException, SMTPNotSupportedError
from typing import Any

import pytest
import trustme
from aftercommit import IdempotencyKey, Refused
from aftercommit.extensions.smtp.exceptions import AddressUndeliverable
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from aftercommit_tests.extensions.smtp.hostile import misbehaving, scripted
from aftercommit_tests.extensions.smtp.sending import (
    AN_EMAIL,
    KEY,
    SENDER,
    Mailbox,
    keeping,
    sending_to,
)
from aftercommit_tests.inside.errors import EmailRefused, MailServerUnavailable

pytestmark = pytest.mark.anyio

ACCEPTED = [(SENDER, [AN_EMAIL.recipient])]


@pytest.fixture
def mailbox() -> Mailbox:
    """Where accepted e-mails are kept."""
    return Mailbox()


@pytest.fixture
def url(mailbox: Mailbox, free_tcp_port: int) -> Iterator[str]:
    """A mail server that accepts everything, in clear text."""
    with keeping(mailbox, free_tcp_port):
        yield f"smtp://127.0.0.1:{free_tcp_port}"


async def test_an_email_arrives_as_it_was_written(url: str, mailbox: Mailbox) -> None:
    """Names are of any script, and headers are not: this is where encodings get lost.

    RFC 5322 requires a date, and mail without one is taken for spam.
    """
    text, before = "Hello Иван,\n\nwelcome!\n", datetime.now(UTC).replace(microsecond=0)
    email = replace(AN_EMAIL, recipient="иван@пример.рф", subject="Welcome, Иван", text=text)

    await sending_to(url)(email)

    [received] = mailbox.emails
    names = ("From", "To", "Subject")
    assert [received[name] for name in names] == [SENDER, "иван@пример.рф", "Welcome, Иван"]
    assert before <= received["Date"].datetime <= datetime.now(UTC)
    assert received.get_content() == text
    assert mailbox.envelopes == [(SENDER, ["иван@пример.рф"])]


async def test_a_repeated_email_has_the_same_message_id_and_another_one_has_not(
    url: str, mailbox: Mailbox
) -> None:
    """Delivery is at least once: the Message-ID lets mail systems drop a repetition."""
    send, event_id = sending_to(url), KEY.partition(":")[0]

    for key in (KEY, KEY, IdempotencyKey(f"{event_id}:send_coupon_email")):
        await send(key=key)

    ids = [str(email["Message-ID"]).strip() for email in mailbox.emails]
    names = ("send_welcome_email", "send_welcome_email", "send_coupon_email")
    assert ids == [f"<{event_id}.{name}@shop>" for name in names]


async def test_a_server_without_international_addresses_gets_no_mangled_one(
    mailbox: Mailbox, free_tcp_port: int
) -> None:
    """A mangled address is that of somebody else."""
    send = sending_to(f"smtp://127.0.0.1:{free_tcp_port}")
    with (
        keeping(mailbox, free_tcp_port, enable_SMTPUTF8=False),
        pytest.raises(EmailRefused, match="SMTPUTF8"),
    ):
        await send(replace(AN_EMAIL, recipient="иван@example.com"))

    assert mailbox.emails == []


OFFERS_LOGIN = "250-localhost\r\n250 AUTH PLAIN"
MEANINGS: dict[type[Exception], list[dict[str, str]]] = {
    EmailRefused: [
        {"MAIL": "501 bad address"},
        {"RCPT": "550 nobody"},
        {"DATA": "554 no"},
        {"end": "552 too large"},
        # none of these says that the address does not exist: one wrong setting of the sender would
        # mark every user as not to be written to
        {"MAIL": "550 5.1.1 sender unknown"},
        {"RCPT": "550 5.7.1 no relay: see 5.1.1"},
        {"RCPT": "550 5.1.10 null MX"},
        {"RCPT": "550 5.1.8 bad sender"},
        {"DATA": "554 5.1.1 no"},
        {"end": "550 5.1.1 spam"},
    ],
    AddressUndeliverable: [
        {"RCPT": "550 5.1.1 nobody"},
        {"RCPT": "550 5.1.2 where?"},
        {"RCPT": "553 5.1.3 what?"},
        {"RCPT": "550 5.1.6 moved"},
        {"RCPT": "550-5.1.1 no\r\n550 5.1.1 such user"},
    ],
    SMTPException: [
        {"RCPT": "450 4.1.1 later"},
        {"RCPT": "450 5.1.1 a code that contradicts itself"},
        {"RCPT": "452 mailbox full"},
        {"DATA": "451 later"},
        {"end": "451 greylisted"},
        {"RCPT": "530 log in first"},
        {"EHLO": "550 no", "HELO": "550 no"},
        {"AUTH": "500 what?"},  # it offers none
    ],
}


@pytest.mark.parametrize(
    ("error", "replies"),
    [(error, replies) for error, listed in MEANINGS.items() for replies in listed],
    ids=str,
)
async def test_a_reply_is_a_refusal_for_good_or_for_now_and_hurts_no_other_email(
    error: type[Exception], replies: dict[str, str]
) -> None:
    """A refusal for good parks the e-mail at once, and operators need the reason.

    Another one may pass: mailboxes are emptied, and passwords corrected.
    """
    account = "ivan:hunter2@" if "AUTH" in replies else ""
    with misbehaving(scripted(**replies)) as server:
        send = sending_to(server.url.replace("//", f"//{account}"))
        for attempt in (1, 2):
            with pytest.raises(error) as caught:
                await send()
            assert server.connections == attempt

    assert isinstance(caught.value, Refused) == (error is not SMTPException)
    if error is EmailRefused:
        assert next(iter(replies.values())) in str(caught.value)


@pytest.mark.parametrize(
    "replies",
    [
        {"EHLO": "450 later", "HELO": "450 later"},
        {"AUTH": "454 later", "EHLO": OFFERS_LOGIN},
        {"AUTH": "535 wrong password", "EHLO": OFFERS_LOGIN},
        {"MAIL": "452 disk full"},
        {"MAIL": "530 log in first"},
    ],
    ids=str,
)
async def test_not_now_is_an_outage_until_the_server_knows_the_recipient(
    replies: dict[str, str],
) -> None:
    """A day of it would park all e-mails of a day, if each attempt counted."""
    account = "ivan:hunter2@" if "AUTH" in replies else ""
    with misbehaving(scripted(**replies)) as server:
        send = sending_to(server.url.replace("//", f"//{account}"))
        for _ in range(2):
            with pytest.raises(MailServerUnavailable, match=next(iter(replies.values()))) as caught:
                await send()

        assert server.connections == 1  # the next e-mails do not even ask
    assert "hunter2" not in str(caught.value)


async def test_neither_code_nor_text_of_an_email_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A coupon's code is money, and logs are read by many, as errors are."""
    caplog.set_level(logging.DEBUG)
    email = replace(AN_EMAIL, text="hunter2")
    for replies in ({"end": "554 no"}, {"DATA": ""}):
        with (
            misbehaving(scripted(**replies)) as server,
            pytest.raises((EmailRefused, MailServerUnavailable)) as caught,
        ):
            await sending_to(server.url)(email)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))

    assert "hunter2" not in caplog.text


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no system trusts by itself."""
    return trustme.CA()


@pytest.fixture
def certified(authority: trustme.CA) -> ssl.SSLContext:
    """The certificate of a mail server on 127.0.0.1, which has another name, too, and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "mail.example.com").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This system trusts the authority."""
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


@pytest.fixture(params=["smtp://127.0.0.1:{}?starttls=1", "smtps://127.0.0.1:{}"])
def tls_url(
    request: pytest.FixtureRequest, mailbox: Mailbox, certified: ssl.SSLContext, free_tcp_port: int
) -> Iterator[str]:
    """A mail server that insists on encryption, of the one kind or the other."""
    is_later = "starttls" in request.param
    option = "tls_context" if is_later else "ssl_context"
    with keeping(mailbox, free_tcp_port, require_starttls=is_later, **{option: certified}):
        yield request.param.format(free_tcp_port)


@pytest.mark.usefixtures("trusted")
async def test_only_the_right_host_of_a_trusted_authority_gets_an_email(
    tls_url: str, mailbox: Mailbox
) -> None:
    """Anybody can have a good certificate of a host of their own.

    The server accepts nothing in clear text, so what arrives was encrypted.
    """
    with pytest.raises(MailServerUnavailable, match="Hostname mismatch"):
        await sending_to(tls_url.replace("127.0.0.1", "localhost"))()
    assert mailbox.emails == []

    await sending_to(tls_url)()

    assert mailbox.envelopes == ACCEPTED


async def test_a_certificate_of_a_stranger_is_refused(tls_url: str, mailbox: Mailbox) -> None:
    """Encryption without this would hand the e-mail, and the password, to anybody."""
    with pytest.raises(MailServerUnavailable, match="certificate verify failed"):
        await sending_to(tls_url)()

    assert mailbox.emails == []


@pytest.fixture
def elsewhere(free_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another machine and its port; a client that looks up its name is sent to this one."""
    here = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", free_tcp_port))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [here])
    return f"mail.example.com:{free_tcp_port}"


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
) -> AuthResult:
    expected = LoginPassword(b"ivan@example.com", b"p@ss:w/rd?#%")
    return AuthResult(success=given == expected, handled=False)


@pytest.mark.usefixtures("trusted")
async def test_user_and_password_of_the_url_are_sent_after_encryption_and_not_repeated(
    mailbox: Mailbox, certified: ssl.SSLContext, elsewhere: str, free_tcp_port: int
) -> None:
    """Also if the URL does not ask for it: the shortest URL is the one that people write."""
    url = "smtp://ivan%40example.com:{}@" + elsewhere
    options = {"tls_context": certified, "auth_required": True, "authenticator": _authenticate}
    with keeping(mailbox, free_tcp_port, **options):
        with pytest.raises(MailServerUnavailable) as caught:
            await sending_to(url.format("hunter2"))()
        assert mailbox.emails == []

        await sending_to(url.format("p%40ss%3Aw%2Frd%3F%23%25"))()

    assert "hunter2" not in str(caught.value)
    assert mailbox.envelopes == ACCEPTED


async def test_a_password_is_never_sent_to_another_machine_without_encryption(
    mailbox: Mailbox, elsewhere: str, free_tcp_port: int
) -> None:
    """Neither to a server that has none, nor to an attacker in between who says so."""
    sent: list[LoginPassword] = []

    def keep(*given: Any) -> AuthResult:
        sent.append(given[-1])
        return AuthResult(success=True)

    with keeping(mailbox, free_tcp_port, authenticator=keep, auth_require_tls=False):
        with pytest.raises(SMTPNotSupportedError, match="STARTTLS"):
            await sending_to(f"smtp://ivan:hunter2@{elsewhere}")()
        assert (sent, mailbox.emails) == ([], [])

        await sending_to(f"smtp://ivan:hunter2@127.0.0.1:{free_tcp_port}")()

    assert sent == [LoginPassword(b"ivan", b"hunter2")]
