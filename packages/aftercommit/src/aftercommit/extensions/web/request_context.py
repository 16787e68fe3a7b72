"""The trace of a request."""

import re
from dataclasses import dataclass, field
from uuid import UUID, uuid4, uuid5

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from aftercommit.claims import Committed

NAMESPACE = UUID("0d2ef6ff-9f53-4f0b-8c5e-6f6f2f6a4f1e")  # of the ids made from callers' ids
REQUEST_ID = "X-Request-ID"
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


@dataclass(slots=True)
class RequestContext:
    """One request, and what becomes known about it."""

    correlation_id: UUID
    traceparent: str | None = None
    committed: Committed = field(default_factory=Committed)  # the trace of its command


def request_context(connection: HTTPConnection) -> RequestContext:
    """Return the context of the current request."""
    context: RequestContext = connection.state.context
    return context


def context_of(headers: Headers) -> RequestContext:
    """Return the context of a new request: in the trace that the caller names, or in a new one.

    A `traceparent` (W3C Trace Context) counts first, then `X-Request-ID`: a UUID is used as it is,
    and any other value is always mapped to the same UUID.
    """
    traceparent, name = headers.get("traceparent", ""), headers.get(REQUEST_ID)
    if found := TRACEPARENT.fullmatch(traceparent):
        return RequestContext(UUID(found[1]), traceparent)
    return RequestContext(_as_uuid(name) if name else uuid4())


def _as_uuid(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        return uuid5(NAMESPACE, name)
