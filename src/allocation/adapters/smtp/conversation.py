"""One conversation with a mail server, which always ends.

The standard library's client runs in a worker thread. It limits each read, not the conversation: a
server that sends a byte a second holds it for ever. So the connection is made on the event loop,
the thread gets it ready-made, and whoever gives up, for a deadline or a signal, shuts it down under
the thread, which then ends at once.
"""

import os
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.message import EmailMessage
from typing import Any

from anyio import (
    CapacityLimiter,
    create_task_group,
    fail_after,
    getaddrinfo,
    sleep_forever,
    to_thread,
    wait_writable,
)
from anyio.lowlevel import checkpoint_if_cancelled

from allocation.adapters.smtp.server import SmtpServer
from allocation.domain.exceptions import Refused

NEED_A_LOGIN = {530, 534, 535, 538}  # RFC 4954: the operator can mend that, the e-mail is fine


class EmailRefused(Refused):
    """The mail server will never take this e-mail; perhaps it knows no such recipient."""

    def __init__(self, answer: str) -> None:
        super().__init__(f"the mail server refuses this e-mail: {answer}")


async def converse(
    server: SmtpServer,
    talk: Callable[[socket.socket], None],
    *,
    limiter: CapacityLimiter,
    connect: float,
) -> None:
    """Connect, in `connect` seconds, and talk in a thread; when cancelled, hang up.

    :raises Exception: what `talk` raises
    :raises OSError: if the server cannot be reached
    """
    # TLS takes the connection away from `sock`; `line` still leads to it
    with await _dial(server, connect) as sock, sock.dup() as line:
        async with create_task_group() as group:
            group.start_soon(_hang_up_when_cancelled, line)
            failure = await to_thread.run_sync(_outcome, talk, sock, limiter=limiter)
            group.cancel_scope.cancel()
    if failure is not None:
        await checkpoint_if_cancelled()  # then it failed because we hung up
        raise failure


def hand_over(
    server: SmtpServer, message: EmailMessage, sender: str, recipient: str, sock: socket.socket
) -> None:
    """Say all that is to be said; return when the server has accepted the e-mail.

    :raises EmailRefused: if it never will
    :raises OSError: if it does not, or (SMTPException) not now
    """
    if server.tls:
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname=server.host)
    with closing(_Client(sock, server)) as client:
        if server.starttls:
            client.starttls(context=ssl.create_default_context())
        if server.user is not None:
            client.login(server.user, server.password)
        client.ehlo_or_helo_if_needed()  # before what is about this e-mail
        with _final_refusals_named():
            client.send_message(message, sender, [recipient])
        with suppress(OSError):
            client.putcmd("QUIT")  # the e-mail is theirs now: whatever they say, it is sent


def answer(error: smtplib.SMTPException) -> tuple[int, str]:
    """Return the code and the text of the server's answer; 0 if there was none."""
    answer: tuple[int, bytes | str] = (0, "")
    if isinstance(error, smtplib.SMTPResponseException):
        answer = (error.smtp_code, error.smtp_error)
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        answer = next(iter(error.recipients.values()))  # there is one
    code, text = answer
    return code, text.decode(errors="replace") if isinstance(text, bytes) else text


async def _dial(server: SmtpServer, seconds: float) -> socket.socket:
    """Connect to the first address that answers; a silent one leaves time for the next."""
    addresses = await getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    failure = OSError("its name has no address")
    for family, kind, protocol, _, address in addresses:
        try:
            with fail_after(seconds / len(addresses)):
                sock = await _connect(socket.socket(family, kind, protocol), address)
        except OSError as error:
            failure = error
        else:
            sock.settimeout(seconds)
            return sock
    raise failure


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


def _outcome(talk: Callable[[socket.socket], None], sock: socket.socket) -> Exception | None:
    """Return what went wrong, if anything did: a task group would wrap what is raised."""
    try:
        talk(sock)
    except Exception as error:
        return error
    return None


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
        code, text = answer(error)
        if 500 <= code < 600 and code not in NEED_A_LOGIN:
            raise EmailRefused(f"{code} {text}") from error
        raise
