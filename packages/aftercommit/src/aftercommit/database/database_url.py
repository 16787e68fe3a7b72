"""Reads the URL of a database, in every usual form. No other module parses one.

Errors quote no part of a wrong URL, not even through a library's error: if a password is not
escaped, any part of the URL can be a piece of it.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from aftercommit.errors import InvalidValue
from aftercommit.secret_text import without_secrets

wrong_url = partial(InvalidValue, "database URL")

ESCAPES = "in a user, a password or a value, write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25"
ALIASES = {"postgres": "postgresql"}  # which libpq accepts, too
PLACES = {"user": "username", "password": "password", "dbname": "database"}  # of libpq, after the ?
LISTS = {"host", "port"}  # may be given more than once
DEFAULT_PORT = "5432"  # of a host without a port, where others have one

_NAME = re.compile(r"[\w.-]+|[\da-fA-F:.]+")
_HOST = re.compile(r"(?P<host>[\w.-]+|\[[\da-fA-F:.]+(?:%\w+)?\]|/[^,]*)?(?::(?P<port>\d{1,5}))?")
_PORTS = re.compile(r"\d{1,5}(,\d{1,5})*")
_HOSTS = re.compile(  # what SQLAlchemy does not read: several hosts, or a socket as %2F…
    r"(?P<begin>\w+(?:\+\w+)?://(?:[^@]*@)?)(?P<hosts>[^/?@]*[,%][^/?@]*)(?P<place>[^?@]*)"
    r"(?:\?(?P<query>.*))?"
)


def parse_url(text: str, schemes: Iterable[str] = ("postgresql",)) -> sa.URL:
    """Return the URL of a database, SQLite's or one of these schemes.

    It reads `postgres://`, several hosts, and `user`, `password` and `dbname` after the ? like
    libpq.

    :raises InvalidValue: if it cannot be understood; it is not quoted
    """
    text = text[:]  # text that cannot be printed, too
    forms = " or ".join(("sqlite:///FILE", *(f"{each}://HOST/DATABASE" for each in schemes)))
    wrong_form = wrong_url(f"is not of the form {forms}; {ESCAPES}")
    if not text.isprintable():
        raise wrong_url("has characters that cannot be printed")
    is_file = re.match(r"sqlite(\+\w+)?:///", text) is not None
    if not is_file and text.count("@") > 1:
        raise wrong_form
    if not is_file and (found := _HOSTS.fullmatch(text)):
        query = "&".join(filter(None, (f"host={found['hosts']}", found["query"])))
        text = f"{found['begin']}{found['place'] or '/'}?{query}"
    try:
        unquote(text, errors="strict")
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        raise wrong_form from None
    after_user = text if is_file else text.rpartition("@")[2]
    if "?" in after_user and not url.query:  # SQLAlchemy drops it, and would use another file
        raise wrong_url("has something else than option=value after the ?")
    scheme, plus, driver = url.drivername.partition("+")
    url = url.set(drivername=f"{ALIASES.get(scheme, scheme)}{plus}{driver}")
    return url if is_file else _in_place(url, wrong_form)


def _in_place(url: sa.URL, wrong_form: InvalidValue) -> sa.URL:
    """Put each part where all drivers look for it."""
    if twice := [name for name, value in url.query.items() if not isinstance(value, str)]:
        if not LISTS.issuperset(twice):
            raise wrong_url("has an option twice")
        url = url.update_query_dict({name: ",".join(url.query[name]) for name in twice})
    for name in PLACES.keys() & url.query:
        part: Any = {PLACES[name]: url.query[name]}
        if getattr(url, PLACES[name]):
            raise wrong_url(f"has {name} twice")
        url = url.set(**part).difference_update_query([name])
    if "@" in (url.database or "") or not _PORTS.fullmatch(str(url.query.get("port", "0"))):
        raise wrong_form
    if url.host and not _NAME.fullmatch(url.host):
        raise wrong_form
    return _with_lists(url, wrong_form) if "host" in url.query else url


def _with_lists(url: sa.URL, wrong_form: InvalidValue) -> sa.URL:
    """Write hosts and ports as `host=a,b&port=1,2`; drivers read no other form alike."""
    found = [_HOST.fullmatch(each) for each in str(url.query["host"]).split(",")]
    hosts = [each["host"] or "" for each in found if each]
    ports = [each["port"] for each in found if each]
    if len(hosts) < len(found):
        raise wrong_form
    if url.host or (any(ports) and "port" in url.query):
        raise wrong_url("has a host or a port twice")
    places = {"host": ",".join(hosts)}
    if any(ports):
        places["port"] = ",".join(port or DEFAULT_PORT for port in ports)
    elif url.port:
        places["port"] = str(url.port)
    return url.set(port=None).update_query_dict(places)


def shown(url: sa.URL) -> str:
    """Return a URL as it may be shown, without secrets."""
    return without_secrets(url.render_as_string(hide_password=False))
