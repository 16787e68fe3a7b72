"""E-mail: printed to the log, or handed to a mail server by SMTP."""

import logging
import re
import smtplib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import localtime
from urllib.parse import unquote, urlsplit

from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread

from allocation.domain.exceptions import InvalidValue
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email

TIMEOUT_SECONDS = 10  # for each answer of the mail server
MAX_CONNECTIONS = 100

_HOST = re.compile(r"[\w.:-]+")
_QUERIES = {"smtp": {"", "starttls=1"}, "smtps": {""}}

logger = logging.getLogger(__name__)


class ConsoleNotifications:
    """Writes e-mails to the log instead of sending them."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Log the whole e-mail, in one line."""
        logger.info("e-mail %s, only logged: %s", idempotency_key, email)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where and how to reach a mail server. The password never shows in `repr`."""

    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)
    tls: bool = False
    starttls: bool = False

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """Read `smtp://user:password@host:port`, with `smtps://` or `?starttls=1` for TLS.

        :raises InvalidValue: if the URL is not of that form; its text is not repeated
        """
        if not url.isprintable():
            raise InvalidValue("SMTP URL", "has a control character in it")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise InvalidValue("SMTP URL", "has no valid host or port") from None
        if parts.scheme not in _QUERIES or not _HOST.fullmatch(host) or port == 0:
            raise InvalidValue("SMTP URL", "is not of the form smtp://user:password@host:port")
        if parts.path or parts.fragment or parts.query not in _QUERIES[parts.scheme]:
            # a request for TLS that is misspelt must not end as a password in clear text
            raise InvalidValue(
                "SMTP URL",
                "has something after the port other than ?starttls=1 (with smtp://); "
                "in a password, # / and ? are written as %23 %2F and %3F",
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (user + password).isascii():
            raise InvalidValue("SMTP URL", "has a user or password not in ASCII")
        if password and not user:
            raise InvalidValue("SMTP URL", "has a password, but no user")
        return cls(
            host=host,
            port=port or (465 if parts.scheme == "smtps" else 25),
            user=user or None,
            password=password,
            tls=parts.scheme == "smtps",
            starttls=bool(parts.query),
        )


class SmtpNotifications:
    """Sends e-mails by SMTP, each over a connection of its own, in a worker thread.

    TLS certificates are verified against the system's authorities. The Message-ID is made from the
    idempotency key, so that mail systems can drop a repetition.
    """

    def __init__(self, server: SmtpServer, *, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._limiter = CapacityLimiter(MAX_CONNECTIONS)

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the mail server has accepted the e-mail.

        When cancelled it hangs up, and the e-mail may or may not be sent. Only while it connects,
        its thread cannot be woken, and goes on for up to the time-out.

        :raises OSError: if the server cannot be reached, or (SMTPException) refuses
        """
        message = _compose(email, self._sender, idempotency_key)
        connections: list[smtplib.SMTP] = []
        try:
            await to_thread.run_sync(
                self._send, message, email.recipient, connections,
                limiter=self._limiter, abandon_on_cancel=True,
            )  # fmt: skip
        except get_cancelled_exc_class():
            for connection in connections:
                _hang_up(connection)  # or the thread would outlive its process's last word
            raise

    def _send(self, message: EmailMessage, recipient: str, connections: list[smtplib.SMTP]) -> None:
        with self._connect() as connection:
            connections.append(connection)
            if self._server.starttls:
                connection.starttls(context=ssl.create_default_context())
            if self._server.user is not None:
                connection.login(self._server.user, self._server.password)
            connection.send_message(message, self._sender, [recipient])

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(
                server.host, server.port, timeout=TIMEOUT_SECONDS, context=context
            )
        return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)


def _hang_up(connection: smtplib.SMTP) -> None:
    """Wake the thread that waits for an answer on this connection; it then ends with an error."""
    with suppress(OSError):
        if connection.sock is not None:
            # not the method of an SSLSocket: that one drops the encryption first
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _compose(email: Email, sender: str, idempotency_key: IdempotencyKey) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = email.recipient
    message["Date"] = localtime()
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{idempotency_key.replace(':', '.')}@allocation>"
    message.set_content(email.text)
    return message
