"""Where and how to reach a mail server, out of one URL."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from allocation.domain.exceptions import InvalidValue

_HOST = re.compile(r"[\w.:-]+")
_QUERIES = {"smtp": {"", "starttls=1"}, "smtps": {""}}


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
