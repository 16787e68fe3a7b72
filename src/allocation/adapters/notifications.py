"""E-mail: printed to the log, or handed to a mail server by SMTP."""

import logging
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

from anyio import CapacityLimiter, to_thread

from allocation.domain.exceptions import InvalidValue
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email

SENDER = "allocation@localhost"
TIMEOUT_SECONDS = 10  # for each answer of the mail server
MAX_CONNECTIONS = 20

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
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    starttls: bool = False

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """Read `smtp://user:password@host:port`, with `smtps://` or `?starttls=1` for TLS.

        :raises InvalidValue: if the URL is not of that form; its text is not repeated
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidValue("SMTP URL", "has no valid port") from None
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise InvalidValue("SMTP URL", "is not of the form smtp://user:password@host:port")
        return cls(
            host=parts.hostname,
            port=port or (465 if parts.scheme == "smtps" else 25),
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "smtps",
            starttls=parse_qs(parts.query).get("starttls") == ["1"],
        )


class SmtpNotifications:
    """Sends e-mails by SMTP, each over a connection of its own, in a worker thread.

    TLS certificates are verified against the system's authorities. The Message-ID is made from the
    idempotency key, so that mail systems can drop a repetition.
    """

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._limiter = CapacityLimiter(MAX_CONNECTIONS)

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the mail server has accepted the e-mail.

        :raises OSError: if the server cannot be reached, or (SMTPException) refuses
        """
        message = _compose(email, idempotency_key)
        await to_thread.run_sync(self._send, message, limiter=self._limiter)

    def _send(self, message: EmailMessage) -> None:
        with self._connect() as connection:
            if self._server.starttls:
                connection.starttls(context=ssl.create_default_context())
            if self._server.user is not None:
                connection.login(self._server.user, self._server.password or "")
            connection.send_message(message)

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(
                server.host, server.port, timeout=TIMEOUT_SECONDS, context=context
            )
        return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)


def _compose(email: Email, idempotency_key: IdempotencyKey) -> EmailMessage:
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = email.recipient
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{idempotency_key.replace(':', '.')}@allocation>"
    message.set_content(email.text)
    return message
