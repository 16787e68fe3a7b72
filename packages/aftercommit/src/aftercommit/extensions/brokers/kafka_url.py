"""Reads from one URL where Kafka is and how to log in."""

import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from aftercommit.extensions.brokers.certificates import FILES, invalid_url, tls_context

MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
PARAMETERS = ("sasl_mechanism", *FILES)

_TEXT = r"(?:[^%/?#@:]|%[\da-fA-F]{2})+"
_URL = re.compile(
    rf"kafka(?P<tls>s?)://((?P<user>{_TEXT}):(?P<password>{_TEXT})@)?"
    r"(?P<servers>[^/?#@]+)(\?(?P<parameters>[^#]+))?"
)
_SERVER = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d+")
_FORM = (
    "is not of the form kafka://host:port,host:port or kafkas://user:password@host:port,host:port,"
    " with ports from 1 to 65535, and with %, :, /, ?, # and @ in a name or password as % and two"
    " hexadecimal digits of their UTF-8"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaCluster:
    """Some of Kafka's servers, and the user and password, if any, for logging in.

    The password never shows in `repr`. Certificates are read once.
    """

    servers: Sequence[str]
    user: str | None = None
    password: str = field(default="", repr=False)
    mechanism: str = MECHANISMS[0]
    tls: ssl.SSLContext | None = None

    @classmethod
    def from_url(cls, url: str) -> "KafkaCluster":
        """Read `kafka://host:port,…`, or `kafkas://user:password@host:port,…` for TLS.

        Parameters are `sasl_mechanism`, and `cafile`, `certfile` and `keyfile` for TLS. Without
        TLS, the mechanism has to be SCRAM, which does not send the password in clear.

        :raises InvalidValue: if the URL has another form, or if a file cannot be used; the URL is
            not quoted
        """
        found = _URL.fullmatch(url) if url.isprintable() else None
        servers = found["servers"].split(",") if found else []
        if not (found and all(map(_is_server, servers))):
            raise invalid_url(_FORM)
        parameters = _parameters(found["parameters"])
        mechanism = parameters.pop("sasl_mechanism", None)
        user, password = (_decoded(found[name] or "") for name in ("user", "password"))
        if mechanism not in (None, *MECHANISMS):
            raise invalid_url(f"names a sasl_mechanism that is not one of {', '.join(MECHANISMS)}")
        if mechanism and not user:
            raise invalid_url("names a sasl_mechanism, but no user and password")
        if mechanism == "PLAIN" and not found["tls"]:
            raise invalid_url(
                "would send the password in clear: use kafkas://, or a SCRAM mechanism"
            )
        if parameters and not found["tls"]:
            raise invalid_url("names a certificate or key without TLS: use kafkas://")
        return cls(
            servers=servers,
            user=user or None,
            password=password,
            mechanism=mechanism or MECHANISMS[0],
            tls=tls_context(parameters) if found["tls"] else None,
        )

    @property
    def login(self) -> Mapping[str, Any]:
        """The library's options for each connection: TLS, and the login."""
        account = {
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.password,
        }
        transport = "SSL" if self.tls else "PLAINTEXT"
        return {
            "security_protocol": f"SASL_{transport}" if self.user else transport,
            "ssl_context": self.tls,
            **(account if self.user else {}),
        }


def _is_server(text: str) -> bool:
    with suppress(ValueError):
        return bool(_SERVER.fullmatch(text) and urlsplit(f"//{text}").port)
    return False


def _decoded(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid_url(_FORM) from None
    if not decoded.isprintable():
        raise invalid_url(_FORM)
    return decoded


def _parameters(text: str | None) -> dict[str, str]:
    with suppress(ValueError):
        pairs = parse_qsl(text or "", keep_blank_values=True, errors="strict")
        parameters = dict(pairs)
        is_each_once = len(parameters) == len(pairs) and all(parameters.values())
        if is_each_once and parameters.keys() <= {*PARAMETERS}:
            return parameters
    raise invalid_url(
        f"has other parameters than {', '.join(PARAMETERS)}, or one of them twice or empty"
    )
