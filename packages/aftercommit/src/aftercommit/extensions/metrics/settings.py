"""The settings of the extension, read together with the others: see `aftercommit.settings`."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=10**6, description="seconds")]
Port = Annotated[int, Meta(ge=1, le=65535, description="TCP port")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where metrics and health checks can be read, if anywhere."""

    metrics_port: Annotated[Port | None, "metrics are off"] = None
    metrics_host: Annotated[str, "other machines have no access by default"] = "127.0.0.1"
    collect_metrics: Annotated[bool, "a port, or `serve`, turns them on anyway"] = False
    readiness_max_lag_seconds: Annotated[Seconds, "ten leases: no worker seems to run"] = 300.0
