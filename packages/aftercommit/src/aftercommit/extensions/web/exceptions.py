"""The errors of this extension: what can be wrong with a request before there is a command."""

from collections.abc import Iterable

from aftercommit.errors import Invalid, Refused, Unavailable


class NotAuthenticated(Refused):
    """The request needs the operator's token: `Authorization: Bearer …`."""


class IdempotencyKeyReused(Invalid):
    """The idempotency key was used before, for a different request."""


class UnknownHost(Invalid):
    """The request is for another host than this server."""


class InvalidRequest(Invalid):
    """The request does not match the document of the API."""

    def __init__(self, mistakes: Iterable[dict[str, str]]) -> None:
        self.mistakes = list(mistakes)
        super().__init__(
            "; ".join(f"{each['pointer']}: {each['detail']}" for each in self.mistakes)
        )


class NotJson(Invalid):
    """The body of the request is not JSON."""


class UnsupportedMediaType(Invalid):
    """The body of the request has a media type other than JSON."""


class CallerUnknown(Unavailable):
    """The connection was reset before the address of the caller was known."""


class BodyTooLarge(Invalid):
    """The body of the request is larger than the server accepts."""


class NotReady(Unavailable):
    """The server should not get requests now."""


class CannotListen(Unavailable):
    """The server cannot listen on its address."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {error.strerror or error}")
