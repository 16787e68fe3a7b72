"""The settings of the extension. Read with the others: see `aftercommit.settings`."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Days = Annotated[float, Meta(gt=0, le=10**6, description="days")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsSettings:
    """How long what is done is remembered."""

    retention_days: Annotated[Days | None, "for ever: only you know what you need"] = None
