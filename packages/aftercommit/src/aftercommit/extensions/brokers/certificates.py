"""How a client verifies its broker, and shows who it is, by the files that a URL names."""

import ssl
from collections.abc import Mapping

from aftercommit.errors import InvalidValue

FILES = ("cafile", "certfile", "keyfile")
"""The parameters of a URL that name files in PEM, for `amqps://` and `kafkas://`."""


def tls_context(files: Mapping[str, str]) -> ssl.SSLContext:
    """Return what a client needs for TLS; without a `cafile`, the system's authorities are trusted.

    :raises InvalidValue: if one of the files cannot be used
    """
    if "keyfile" in files and "certfile" not in files:
        raise invalid_url("names a keyfile without a certfile")
    try:
        context = ssl.create_default_context(cafile=files.get("cafile"))
        if "certfile" in files:
            context.load_cert_chain(files["certfile"], files.get("keyfile"), _refuse_encrypted_key)
    except OSError as error:  # also of OpenSSL
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        named = " or ".join(name for name in FILES if name in files)
        raise invalid_url(f"names a {named} that cannot be used: {reason}") from None
    return context


def invalid_url(reason: str) -> InvalidValue:
    """Return the error for a URL, of which no text is repeated: it may hold a password."""
    return InvalidValue("broker URL", reason)


def _refuse_encrypted_key() -> str:
    """Do what OpenSSL would ask the terminal for otherwise, and wait."""
    raise invalid_url("names an encrypted key: nobody is there to enter its password")
