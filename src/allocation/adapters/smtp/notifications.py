"""The port for e-mail, by SMTP: one deadline for each, and a server that is away is left alone."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from anyio import CapacityLimiter, current_time, fail_after

from allocation.adapters.emails import compose
from allocation.adapters.smtp.conversation import answer, converse, hand_over
from allocation.adapters.smtp.server import SmtpServer
from allocation.domain.exceptions import Unavailable
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email

TIMEOUT_SECONDS = 10  # for one e-mail, from looking up the name to the last answer
PAUSE_SECONDS = 1  # for which a server that is away is left alone, or as long as an e-mail took
MAX_CONNECTIONS = 100
NOT_AVAILABLE = 421


class MailServerUnavailable(Unavailable):
    """The mail server cannot be reached, hangs up, or does not come to an end."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"mail server {server} is not available: {reason}")
        self.reason = reason


class SmtpNotifications:
    """Sends e-mails by SMTP, each over a connection of its own.

    TLS certificates are verified against the system's authorities. A server that is away is left
    alone for a while, and then tried by one e-mail before the others.
    """

    def __init__(
        self, server: SmtpServer, *, sender: str, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._server = server
        self._sender = sender
        self._timeout = timeout
        self._limiter = CapacityLimiter(MAX_CONNECTIONS)
        self._outage: MailServerUnavailable | None = None  # until the server answers again
        self._left_alone_until = 0.0  # event loop's clock
        self._in_hand = 0

    @classmethod
    def from_url(cls, url: str, *, sender: str) -> "SmtpNotifications":
        """Send by the server that the URL names: see `SmtpServer.from_url`."""
        return cls(SmtpServer.from_url(url), sender=sender)

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the mail server has accepted the e-mail.

        When cancelled it hangs up, and the e-mail may or may not be sent.

        :raises EmailRefused: if the server will never take this e-mail
        :raises MailServerUnavailable: if it cannot be reached or takes too long, or just did
        :raises smtplib.SMTPException: if it does not take the e-mail now
        """
        message = compose(email, sender=self._sender, idempotency_key=idempotency_key)
        talk = partial(hand_over, self._server, message, self._sender, email.recipient)
        with self._left_alone_after_an_outage():
            try:
                with fail_after(self._timeout):
                    await converse(self._server, talk, limiter=self._limiter, connect=self._timeout)
            except OSError as error:
                if not _is_outage(error):
                    raise
                reason = str(error) or f"it took longer than {self._timeout:g} s"
                raise MailServerUnavailable(str(self._server), reason) from error

    @contextmanager
    def _left_alone_after_an_outage(self) -> Iterator[None]:
        """Fail at once after an outage, for a while, and then until one e-mail got an answer.

        Source: Michael Nygard, *Release It!*, "Circuit Breaker".
        """
        if self._outage and (current_time() < self._left_alone_until or self._in_hand):
            why = f"{self._outage.reason}; it is left alone for a while"
            raise MailServerUnavailable(str(self._server), why)
        outage, started = None, current_time()
        self._in_hand += 1
        try:
            yield
        except MailServerUnavailable as error:
            outage, now = error, current_time()
            self._left_alone_until = now + max(PAUSE_SECONDS, now - started)
            raise
        finally:
            self._in_hand -= 1
            self._outage = outage


def _is_outage(error: OSError) -> bool:
    match error:
        case smtplib.SMTPServerDisconnected() | smtplib.SMTPConnectError():
            return True
        case smtplib.SMTPException():
            return answer(error)[0] == NOT_AVAILABLE
    return True
