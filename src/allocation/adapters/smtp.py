"""E-mail by SMTP: the standard library's client in a worker thread, made so that it always ends.

`smtplib` limits each read, not the conversation: a server that sends a byte a second holds it for
ever. So there is one deadline for everything. The connection is made on the event loop, the thread
gets it ready-made, and whoever gives up shuts it down under the thread, which then ends at once.
"""

import os
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

from anyio import (
    CapacityLimiter,
    create_task_group,
    current_time,
    fail_after,
    getaddrinfo,
    sleep_forever,
    to_thread,
    wait_writable,
)
from anyio.lowlevel import checkpoint_if_cancelled

from allocation.adapters.circuit_breaker import CircuitBreaker
from allocation.adapters.emails import compose
from allocation.domain.exceptions import InvalidValue, Refused, Unavailable
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email

TIMEOUT_SECONDS = 10  # for one e-mail, from looking up the name to the last answer
MAX_CONNECTIONS = 100

NOT_AVAILABLE = 421
NEED_A_LOGIN = {530, 534, 535, 538}  # RFC 4954: the operator can mend that, the e-mail is fine

_HOST = re.compile(r"[\w.:-]+")
_QUERIES = {"smtp": {"", "starttls=1"}, "smtps": {""}}


class EmailRefused(Refused):
    """The mail server will never take this e-mail; perhaps it knows no such recipient."""

    def __init__(self, answer: str) -> None:
        super().__init__(f"the mail server refuses this e-mail: {answer}")


class MailServerUnavailable(Unavailable):
    """The mail server cannot be reached, hangs up, or does not come to an end."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"mail server {server} is not available: {reason}")
        self.reason = reason


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
            raise InvalidValue("mail URL", "has a control character in it")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise InvalidValue("mail URL", "has no valid host or port") from None
        if parts.scheme not in _QUERIES or not _HOST.fullmatch(host) or port == 0:
            raise InvalidValue(
                "mail URL", "is not of the form smtp://user:password@host:port or maildir:FOLDER"
            )
        if parts.path or parts.fragment or parts.query not in _QUERIES[parts.scheme]:
            # a request for TLS that is misspelt must not end as a password in clear text
            raise InvalidValue(
                "mail URL",
                "has something after the port other than ?starttls=1 (with smtp://); "
                "in a password, # / and ? are written as %23 %2F and %3F",
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if not (user + password).isascii():
            raise InvalidValue("mail URL", "has a user or password not in ASCII")
        if password and not user:
            raise InvalidValue("mail URL", "has a password, but no user")
        return cls(
            host=host,
            port=port or (465 if parts.scheme == "smtps" else 25),
            user=user or None,
            password=password,
            tls=parts.scheme == "smtps",
            starttls=bool(parts.query),
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


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
        self._circuit = CircuitBreaker()
        self._outage: MailServerUnavailable | None = None  # until the server answers again
        self._in_hand = 0

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the mail server has accepted the e-mail.

        When cancelled it hangs up, and the e-mail may or may not be sent.

        :raises EmailRefused: if the server will never take this e-mail
        :raises MailServerUnavailable: if it cannot be reached or takes too long, or just did
        :raises smtplib.SMTPException: if it does not take the e-mail now
        """
        message = compose(email, sender=self._sender, idempotency_key=idempotency_key)
        with self._left_alone_after_an_outage():
            try:
                with fail_after(self._timeout):
                    await self._converse(message, email.recipient)
            except OSError as error:
                if not _is_outage(error):
                    raise
                reason = str(error) or f"it took longer than {self._timeout:g} s"
                raise MailServerUnavailable(str(self._server), reason) from error

    @contextmanager
    def _left_alone_after_an_outage(self) -> Iterator[None]:
        """Fail at once after an outage, for a while, and then until one e-mail got an answer."""
        if self._outage and (self._circuit.failure or self._in_hand):
            why = f"{self._outage.reason}; it is left alone for a while"
            raise MailServerUnavailable(str(self._server), why)
        outage, started = None, current_time()
        self._in_hand += 1
        try:
            yield
        except MailServerUnavailable as error:
            outage = error
            self._circuit.trip(error, started=started)
            raise
        finally:
            self._in_hand -= 1
            self._outage = outage

    async def _converse(self, message: EmailMessage, recipient: str) -> None:
        # TLS takes the connection away from `sock`; `line` still leads to it
        with await self._dial() as sock, sock.dup() as line:
            async with create_task_group() as group:
                group.start_soon(_hang_up_when_cancelled, line)
                failure = await to_thread.run_sync(
                    self._outcome, sock, message, recipient, limiter=self._limiter
                )
                group.cancel_scope.cancel()
        if failure is not None:
            await checkpoint_if_cancelled()  # then it failed because we hung up
            raise failure

    async def _dial(self) -> socket.socket:
        """Connect to the first address that answers; a silent one leaves time for the next."""
        host, port = self._server.host, self._server.port
        addresses = await getaddrinfo(host, port, type=socket.SOCK_STREAM)
        failure = OSError("its name has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                with fail_after(self._timeout / len(addresses)):
                    sock = await _connect(socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
            else:
                sock.settimeout(self._timeout)
                return sock
        raise failure

    def _outcome(
        self, sock: socket.socket, message: EmailMessage, recipient: str
    ) -> Exception | None:
        """Return what went wrong, if anything did: a task group would wrap what is raised."""
        try:
            self._talk(sock, message, recipient)
        except Exception as error:
            return error
        return None

    def _talk(self, sock: socket.socket, message: EmailMessage, recipient: str) -> None:
        server = self._server
        if server.tls:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=server.host)
        with closing(_Client(sock, server)) as client:
            if server.starttls:
                client.starttls(context=ssl.create_default_context())
            if server.user is not None:
                client.login(server.user, server.password)
            client.ehlo_or_helo_if_needed()  # before what is about this e-mail
            with _final_refusals_named():
                client.send_message(message, self._sender, [recipient])
            with suppress(OSError):
                client.putcmd("QUIT")  # the e-mail is theirs now: whatever they say, it is sent


class _Client(smtplib.SMTP):
    """The standard client, on a connection that is there already."""

    def __init__(self, sock: socket.socket, server: SmtpServer) -> None:
        self._connected = sock
        address = sock.getsockname()[0]
        literal = f"IPv6:{address}" if ":" in address else address
        # otherwise it asks the DNS for its own name, for as long as that takes
        super().__init__(server.host, server.port, local_hostname=f"[{literal}]")

    def _get_socket(self, *_: object) -> socket.socket:
        return self._connected


async def _connect(sock: socket.socket, address: Any) -> socket.socket:
    try:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.connect(address)
        await wait_writable(sock)
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


async def _hang_up_when_cancelled(line: socket.socket) -> None:
    """Wake the thread that waits for an answer at the other end; it then ends with an error."""
    try:
        await sleep_forever()
    finally:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


@contextmanager
def _final_refusals_named() -> Iterator[None]:
    """Tell a refusal for good from one that may pass.

    :raises EmailRefused: if it is for good
    """
    try:
        yield
    except smtplib.SMTPNotSupportedError as error:
        raise EmailRefused(str(error)) from error
    except (
        smtplib.SMTPSenderRefused,
        smtplib.SMTPRecipientsRefused,
        smtplib.SMTPDataError,
    ) as error:
        code, text = _answer(error)
        if 500 <= code < 600 and code not in NEED_A_LOGIN:
            raise EmailRefused(f"{code} {text}") from error
        raise


def _is_outage(error: OSError) -> bool:
    match error:
        case smtplib.SMTPServerDisconnected() | smtplib.SMTPConnectError():
            return True
        case smtplib.SMTPException():
            return _answer(error)[0] == NOT_AVAILABLE
    return True


def _answer(error: smtplib.SMTPException) -> tuple[int, str]:
    """Return the code and the text of the server's answer; 0 if there was none."""
    answer: tuple[int, bytes | str] = (0, "")
    if isinstance(error, smtplib.SMTPResponseException):
        answer = (error.smtp_code, error.smtp_error)
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        answer = next(iter(error.recipients.values()))  # there is one
    code, text = answer
    return code, text.decode(errors="replace") if isinstance(text, bytes) else text
