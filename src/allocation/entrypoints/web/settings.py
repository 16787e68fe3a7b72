"""The settings of the room. Read with the others: see `config.py`."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

HEAD_BYTES = 16384  # of a request: what is longer is no request

Token = Annotated[str, Meta(min_length=16, max_length=200, pattern="^[!-~]*$")]
Port = Annotated[int, Meta(ge=0, le=65535, description="number")]
Bytes = Annotated[int, Meta(ge=1024, le=2**30, description="bytes")]
Seconds = Annotated[float, Meta(gt=0, le=10**6, description="seconds")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Where to listen, who may do what, and how much a request may take.

    The names begin with HTTP because Kubernetes sets ALLOCATION_PORT, for a service of that name.
    """

    operator_token: Annotated[Token | None, "a new one at each start"] = field(
        default=None, repr=False
    )
    allowed_hosts: Annotated[str | None, "any; set it where browsers come"] = None
    allowed_origins: Annotated[str | None, "none: pages of others may not read answers"] = None
    http_host: Annotated[str, "this machine only"] = "127.0.0.1"
    http_port: Annotated[Port, "is usual, and needs no rights"] = 8000
    http_body_bytes: Annotated[Bytes, "a hundred times what any command needs"] = 65536
    http_seconds: Annotated[Seconds, "head, body, or idle: longer than a slow phone"] = 10.0

    @property
    def hosts(self) -> frozenset[str]:
        """The names by which it may be asked for; none means any."""
        return frozenset((self.allowed_hosts or "").lower().split())

    @property
    def origins(self) -> list[str]:
        """Whose pages may ask from a browser, and read the answers."""
        return (self.allowed_origins or "").split()
