"""Text that may contain a secret, such as a URL, and never shows it. Imports nothing heavy.

Settings with `repr=False` are of this type, so printing one by accident shows no secret.
"""

import re
from typing import Any

HIDDEN = "***"
PUBLIC = {
    *("host", "port", "sslmode", "sslnegotiation", "target_session_attrs", "channel_binding"),
    *("connect_timeout", "mode", "timeout", "uri"),
}
"""The URL parameters whose values are shown; an unknown one could be a secret."""

_HOST = r"(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::\d+)?"
_URL = re.compile(
    rf"(?P<scheme>[a-z][a-z\d+]*)://(?P<user>[^@]*@)?(?P<place>{_HOST}(?:,{_HOST})*(?:/[^@?#]*)?)"
    r"(?:\?(?P<query>[^@#]*))?"
)
_FILE = re.compile(r"(?P<scheme>sqlite(?:\+[a-z]+)?)://(?P<place>/[^?]*)(?:\?(?P<query>.*))?")
_PARAMETER = re.compile(r"(\w+)=[\w.,:/%-]*")


class SecretText(str):
    """The text itself where it is used, and `without_secrets` of it wherever it is shown.

    `str()`, `repr()`, formatting and `+` show it without secrets. Calls that take it apart or send
    it, such as `split`, `encode` or another process's environment, get the whole text.

    >>> from aftercommit.secret_text import SecretText
    >>> url = SecretText("postgresql://shop:hunter2@db.example.com/shop")
    >>> print(url)
    postgresql://***@db.example.com/shop
    >>> url == "postgresql://shop:hunter2@db.example.com/shop"
    True
    """

    __slots__ = ()

    def __str__(self) -> str:
        return without_secrets(self)

    def __repr__(self) -> str:
        return repr(without_secrets(self))

    def __format__(self, spec: str) -> str:
        return format(without_secrets(self), spec)

    def __add__(self, other: str) -> str:
        return without_secrets(self) + other

    def __radd__(self, other: str) -> str:
        return other + without_secrets(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return SecretText, (self[:],)


def without_secrets(text: str) -> str:
    """Return a URL without user, password, and the values of possibly secret parameters.

    A text that is not certainly a URL becomes `***`. URLs are rendered only here.

    >>> from aftercommit.secret_text import without_secrets
    >>> without_secrets("postgresql://h/shop?sslmode=require&sslpassword=hunter2")
    'postgresql://h/shop?sslmode=require&***'
    >>> without_secrets("postgresql//shop:hunter2@h/shop")
    '***'
    """
    found = _FILE.fullmatch(text) or _URL.fullmatch(text)
    if found is None:
        return HIDDEN
    user = HIDDEN + "@" if found.groupdict().get("user") else ""
    query = "&".join(map(_parameter, (found["query"] or "").split("&")))
    return f"{found['scheme']}://{user}{found['place']}{'?' if found['query'] else ''}{query}"


def _parameter(text: str) -> str:
    if not text:
        return text
    found = _PARAMETER.fullmatch(text)
    return text if found and found[1] in PUBLIC else HIDDEN
