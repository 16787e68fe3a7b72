"""The errors of this room: what can be wrong with a request before it is a command."""

from allocation.domain.exceptions import Malformed, Refused, Unavailable


class NotAuthenticated(Refused):
    """The request needs the operator's token."""

    def __init__(self) -> None:
        super().__init__("send the operator's token: Authorization: Bearer …")


class IdempotencyKeyReused(Malformed):
    """The idempotency key was used before, for a request that said something else."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key belongs to a request with another body")


class UnknownHost(Malformed):
    """The request is for a host that this server is not."""

    def __init__(self) -> None:
        super().__init__("the Host of the request is not one of this server's")


class InvalidRequest(Malformed):
    """The request does not fit what the API documents."""

    def __init__(self, problems: list[dict[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{each['pointer']}: {each['detail']}" for each in problems))


class NotJson(Malformed):
    """The body of the request is not JSON."""

    def __init__(self) -> None:
        super().__init__("the body cannot be read as JSON")


class UnsupportedMediaType(Malformed):
    """The body of the request has a media type other than JSON."""

    def __init__(self) -> None:
        super().__init__("send the body as Content-Type: application/json")


class HeadTooLarge(Malformed):
    """The headers of the request are larger than allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} bytes are allowed")


class BodyTooLarge(Malformed):
    """The body of the request is larger than allowed; it was not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} bytes are allowed")


class BodyTooSlow(Malformed):
    """The body of the request did not arrive in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it has to arrive within {seconds:g} s")


class NotReady(Unavailable):
    """The server should get no requests for now."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


class CannotListen(Unavailable):
    """The server cannot listen where it should."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {error.strerror or error}")
