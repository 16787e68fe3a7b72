"""The settings of the extension, read together with the others: see `aftercommit.settings`."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

HOST = r"([\w.-]+|\[[0-9a-fA-F:.]+\])"  # without a scheme or port, with which it would never match
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

Token = Annotated[str, Meta(min_length=16, max_length=200, pattern="^[!-~]*$")]
Port = Annotated[int, Meta(ge=0, le=65535, description="number")]
Bytes = Annotated[int, Meta(ge=1024, le=2**30, description="bytes")]
Seconds = Annotated[float, Meta(gt=0, le=10**6, description="seconds")]
HostNames = Annotated[str, Meta(pattern=rf"^ *({HOST}( +{HOST})*)? *$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Where to listen, who may do what, and the limits of a request.

    The names begin with HTTP because Kubernetes sets NAME_PORT for a service called NAME.
    """

    operator_token: Annotated[Token | None, "a new one at each start"] = field(
        default=None, repr=False
    )
    allowed_hosts: Annotated[HostNames | None, "any; on a loopback address, only its own names"] = (
        None
    )
    allowed_origins: Annotated[
        str | None, "none: pages of other origins may not read responses"
    ] = None
    http_host: Annotated[str, "this machine only"] = "127.0.0.1"
    http_port: Annotated[Port, "usual, and needs no privileges"] = 8000
    http_max_body_bytes: Annotated[Bytes, "a hundred times what any command needs"] = 65536
    http_timeout_seconds: Annotated[Seconds, "longer than the pauses of a slow client"] = 10.0

    @property
    def hosts(self) -> frozenset[str]:
        """The host names for which requests are accepted; none means any.

        A foreign page whose host name leads to a loopback address (DNS rebinding) has another name,
        so it gets nothing.
        """
        if self.allowed_hosts is None and self._listens_on_loopback:
            return LOOPBACK_NAMES
        return frozenset((self.allowed_hosts or "").lower().split())

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may send requests from a browser, and read the responses."""
        return (self.allowed_origins or "").split()

    @property
    def _listens_on_loopback(self) -> bool:
        return self.http_host in ("localhost", "::1") or self.http_host.startswith("127.")
