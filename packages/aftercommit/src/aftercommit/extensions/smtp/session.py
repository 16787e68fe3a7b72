"""One session with a mail server, in a thread that always ends.

The standard library's client limits each read, but not the session: a server that sends one byte a
second would block its thread without end, and with it the process. So the connection can be cut,
which ends the thread: when the session is cancelled, or when its time is over.
"""

import smtplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from email.message import EmailMessage
from typing import BinaryIO

from aftercommit.extensions.smtp.smtp_url import SmtpServer

READY = 220
MAX_REPLY_BYTES = 100_000  # of all replies in a session; usual are a dozen lines


class Replies:
    """The replies of a session, with a limit, so that an endless one does not fill the memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, MAX_REPLY_BYTES
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        """Return the next line.

        :raises OSError: if it cannot be read, or if the replies are too long
        """
        line = self._stream.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"its replies are longer than {MAX_REPLY_BYTES:,} bytes")
        return line


class SmtpSession(smtplib.SMTP):
    """The standard library's client; another thread may cut its connection at any time."""

    knows_recipient = False
    """Whether what the server says can be about this e-mail alone."""
    _line: socket.socket | None = None
    _is_cut = False

    def __init__(self, server: SmtpServer, seconds: float) -> None:
        # without a name, it would query the DNS for its own, however long that takes
        super().__init__(local_hostname="[127.0.0.1]", timeout=seconds)
        self._server, self._host = server, server.host

    def deliver(self, message: EmailMessage, sender: str, recipient: str) -> None:
        """Connect, and send one e-mail; return when the server has accepted it.

        :raises OSError: if the server does not accept it, or cannot be reached
        """
        server = self._server
        with closing(self):
            code, reply = self.connect(server.host, server.port)
            if code != READY:
                raise smtplib.SMTPConnectError(code, reply)
            if server.starttls:
                self.starttls(context=ssl.create_default_context())
            if server.login is not None:
                self.login(server.login, server.password)
            self.ehlo_or_helo_if_needed()  # before anything about this e-mail
            self.send_message(message, sender, [recipient])
            with suppress(OSError):
                self.putcmd("QUIT")  # no answer to this could undo that the e-mail is accepted

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """Name the recipient."""
        self.knows_recipient = True
        return super().rcpt(recip, options)

    def getreply(self) -> tuple[int, bytes]:
        """Read a reply, which may have many lines."""
        if self.file is None and self.sock:
            self.file = Replies(self.sock.makefile("rb"))
        return super().getreply()

    # smtplib has no public way to skip RSET, or to make the socket, and none is planned:
    # https://github.com/python/cpython/issues/73873
    def _rset(self) -> None:
        """Do not send RSET: there is only one e-mail, and its outcome is known."""

    def cut(self) -> None:
        """End the session now, or as soon as it has connected. May be called from any thread."""
        self._is_cut = True
        with suppress(OSError):
            if self._line:
                self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        if self._line:
            self._line.close()

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        try:
            sock = socket.create_connection((host, port), timeout / 4)  # to each address, in turn
        except TimeoutError:
            raise ConnectionError("it does not answer") from None
        sock.settimeout(2 * timeout)  # the connection is cut before that, if the event loop runs
        self._line = sock.dup()  # TLS takes the connection away from `sock`, but not from this
        if self._is_cut:
            self.cut()
        address = sock.getsockname()[0]
        self.local_hostname = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        if self._server.tls:
            return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        return sock
