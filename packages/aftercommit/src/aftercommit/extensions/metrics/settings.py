"""The settings of the extension. Read with the others: see `aftercommit.settings`."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=10**6, description="seconds")]
Port = Annotated[int, Meta(ge=1, le=65535, description="TCP port")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where metrics and the state of health can be read, if anywhere."""

    metrics_port: Annotated[Port | None, "metrics are off"] = None
    metrics_host: Annotated[str, "other machines have to be let in explicitly"] = "127.0.0.1"
    collect_metrics: Annotated[bool, "a port, or `serve`, collects them anyway"] = False
    readiness_max_lag_seconds: Annotated[Seconds, "ten leases: no worker runs"] = 300.0
