"""Reads from one URL where a mail server is and how to log in."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote

from aftercommit.errors import InvalidValue

# a misspelt request for TLS must not send a password in clear
URL = re.compile(
    r"(?i:(?P<tls>smtps)|smtp)://(?:(?P<login>[^:/?#]+)(?::(?P<password>[^/?#]*))?@)?"
    r"(?:\[(?P<ipv6>[\w.:]+)\]|(?P<host>[\w.-]+))(?::(?P<port>[1-9]\d{,4}))?"
    r"(?(tls)|(?P<starttls>\?starttls=1)?)"
)
MAX_PORT = 65535
PROBLEM = (
    "is not of the form smtp://user:password@host:port, smtps://user:password@host:port, "
    "smtp://host:port?starttls=1 or maildir:FOLDER, with a user and password in ASCII, and # / ? "
    "in them as %23 %2F %3F"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where a mail server is, and how to log in. The password never shows in `repr`."""

    host: str
    port: int
    login: str | None = None
    password: str = field(default="", repr=False)
    tls: bool = False
    starttls: bool = False

    @classmethod
    def from_url(cls, url: str) -> "SmtpServer":
        """Read `smtp://user:password@host:port`, with `smtps://` or `?starttls=1` for TLS.

        With a user, `smtp://` means STARTTLS, too, unless the host is this machine.

        :raises InvalidValue: if the URL has another form; it is not quoted
        """
        refusal, found = InvalidValue("mail URL", PROBLEM), URL.fullmatch(url)
        if not (found and url.isprintable()):
            raise refusal
        login, password = (unquote(found[name] or "") for name in ("login", "password"))
        port = int(found["port"] or (465 if found["tls"] else 25))
        if port > MAX_PORT or not (login + password).isascii() or not _is_name(found["host"] or ""):
            raise refusal
        host = found["host"] or found["ipv6"]
        needs_tls = bool(login) and not found["tls"] and not _is_loopback(host)
        return cls(
            host=host,
            port=port,
            login=login or None,
            password=password,
            tls=bool(found["tls"]),
            starttls=bool(found["starttls"]) or needs_tls,
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _is_loopback(host: str) -> bool:
    """Tell whether what is sent to this host stays on this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host.lower() == "localhost"


def _is_name(host: str) -> bool:
    """Tell whether the name can be looked up: no part of it is empty or too long."""
    with suppress(UnicodeError):
        host.encode("idna")
        return True
    return False
