"""The URLs of brokers: what is wrong with one is told at start, not when the first event waits.

No text of a URL is ever repeated: it may hold a password.
"""

import re
from urllib.parse import unquote, urlsplit

from allocation.domain.exceptions import InvalidValue

_HOST = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


def require_amqp(url: str) -> None:
    """Check `amqp://user:password@host:port/vhost`; all but the host may be absent.

    :raises InvalidValue: if the URL is not of that form
    """
    _require_text(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _invalid("has no valid host, or a port that is not from 1 to 65535") from None
    if not _HOST.fullmatch(host) or port == 0:
        raise _invalid("is not of the form amqp://user:password@host:port/vhost")
    if parts.fragment or "/" in parts.path[1:]:
        raise _invalid("has # in it, or more than one / after the host: write %23, or %2F")


def kafka_servers(url: str) -> list[str]:
    """Return the servers in `kafka://host:port,host:port`.

    :raises InvalidValue: if the URL is not of that form
    """
    servers = url.removeprefix("kafka://").split(",")
    if not all(re.fullmatch(r"[\w.-]+:\d+", server) for server in servers):
        raise _invalid("is not of the form kafka://host:port,host:port")
    if not all(1 <= int(server.rpartition(":")[2]) <= 65535 for server in servers):
        raise _invalid("has a port that is not from 1 to 65535")
    return servers


def _require_text(url: str) -> None:
    try:
        text = unquote(url, errors="strict")
    except UnicodeError:
        text = ""
    if not text or _BROKEN_ESCAPE.search(url) or not text.isprintable():
        raise _invalid("has a % that is not followed by two hexadecimal digits of a letter's UTF-8")


def _invalid(reason: str) -> InvalidValue:
    return InvalidValue("broker URL", reason)
