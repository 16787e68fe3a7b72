"""The port for e-mail, by SMTP, with a time limit for each e-mail and a breaker for the server."""

from collections.abc import Callable
from functools import partial
from math import inf

from anyio import CapacityLimiter, fail_after, to_thread

from aftercommit.claims import IdempotencyKey
from aftercommit.extensions.circuit_breaker import CircuitBreaker
from aftercommit.extensions.smtp.exceptions import MailServerUnavailable, translate_error
from aftercommit.extensions.smtp.mime import Email, compose
from aftercommit.extensions.smtp.session import SmtpSession
from aftercommit.extensions.smtp.smtp_url import SmtpServer

TIMEOUT_SECONDS = 10  # for one e-mail, from looking up the name to the last reply
MAX_CONNECTIONS = 100


class SmtpEmailSender:
    """Sends e-mails by SMTP, each over a connection of its own.

    TLS certificates are verified against the system's authorities.
    """

    def __init__(
        self,
        server: SmtpServer,
        *,
        sender: str,
        application: str,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._server, self._sender, self._timeout = server, sender, timeout
        self._compose = partial(compose, sender=sender, application=application)
        self._connections = CapacityLimiter(MAX_CONNECTIONS)
        self._threads = CapacityLimiter(inf)  # one that was abandoned ends soon
        self._circuit_breaker = CircuitBreaker(
            partial(MailServerUnavailable, str(server)),
            outages=(MailServerUnavailable, TimeoutError),
        )

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the mail server has accepted the e-mail; after a cancellation, it may have.

        :raises AddressUndeliverable: if the server replies that there is no such address
        :raises EmailRefused: if the server will never accept this e-mail for another reason
        :raises MailServerUnavailable: if the server is down, or was a moment ago; also if it says
            "not now", or nothing in time, before it knows the recipient
        :raises TimeoutError: if the session takes too long after that
        :raises smtplib.SMTPException: if the server does not accept the e-mail now
        """
        message = self._compose(email, idempotency_key=idempotency_key)
        session = SmtpSession(self._server, self._timeout)
        talk = partial(session.deliver, message, self._sender, email.recipient)
        async with self._connections:  # waiting for a slot is not the server's fault
            await self._deliver(session, talk)

    async def _deliver(self, session: SmtpSession, talk: Callable[[], None]) -> None:
        with self._circuit_breaker.attempt():
            try:
                with fail_after(self._timeout):
                    await to_thread.run_sync(talk, abandon_on_cancel=True, limiter=self._threads)
            except TimeoutError as error:
                server, late = str(self._server), f"took longer than {self._timeout:g} s"
                if session.knows_recipient:
                    raise TimeoutError(f"mail server {server} {late}") from error
                raise MailServerUnavailable(server, f"it {late}") from error
            except OSError as error:
                known = {"knows_recipient": session.knows_recipient}
                if meaning := translate_error(error, str(self._server), **known):
                    raise meaning from error
                raise
            finally:
                session.cut()
