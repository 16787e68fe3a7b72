"""How a client verifies its broker, and proves who it is, with the files that a URL names."""

import ssl
from collections.abc import Mapping

from aftercommit.errors import InvalidValue

FILES = ("cafile", "certfile", "keyfile")
"""The parameters of a URL that name files in PEM, for `amqps://` and `kafkas://`."""


def tls_context(files: Mapping[str, str]) -> ssl.SSLContext:
    """Return a client's TLS context; without a `cafile`, the system's authorities are trusted.

    :raises InvalidValue: if one of the files cannot be used
    """
    if "keyfile" in files and "certfile" not in files:
        raise invalid_url("names a keyfile without a certfile")
    try:
        context = ssl.create_default_context(cafile=files.get("cafile"))
        if "certfile" in files:
            context.load_cert_chain(files["certfile"], files.get("keyfile"), _refuse_encrypted_key)
    except OSError as error:  # OpenSSL's errors, too
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        named = " or ".join(name for name in FILES if name in files)
        raise invalid_url(f"names a {named} that cannot be used: {reason}") from None
    return context


def invalid_url(reason: str) -> InvalidValue:
    """Return the error for a URL, without quoting the URL: it may contain a password."""
    return InvalidValue("broker URL", reason)


def _refuse_encrypted_key() -> str:
    """Fail where OpenSSL would ask for a password on the terminal, and wait."""
    raise invalid_url(
        "names an encrypted key, whose password nobody can enter; use a key without one"
    )
