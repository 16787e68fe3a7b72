"""The settings of the room. Read with the others: see `config.py`."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=10**6, description="seconds")]
Port = Annotated[int, Meta(ge=1, le=65535, description="TCP port")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where metrics and the state of health are told, if anywhere."""

    metrics_port: Annotated[Port | None, "nobody is told"] = None
    metrics_host: Annotated[str, "whoever is not on this machine has to be let in"] = "127.0.0.1"
    ready_overdue_seconds: Annotated[Seconds, "ten leases: nobody works"] = 300.0
