"""The settings of the extension, read together with the others: see `aftercommit.settings`."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Days = Annotated[float, Meta(gt=0, le=10**6, description="days")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsSettings:
    """How long the history of done work is kept."""

    retention_days: Annotated[Days | None, "without end: only you know what you need"] = None
