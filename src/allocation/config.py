"""The settings of this application, added to the engine's. Bootstrap and entrypoints read them.

Each is an environment variable: `marketing_email` is `ALLOCATION_MARKETING_EMAIL`.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from aftercommit import EngineSettings, Seconds

from allocation.domain.bases import InvalidValue
from allocation.domain.values import EmailAddress

DAY = 86400.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Everything that can be set. URLs may contain passwords, so they never show in `repr`."""

    application: ClassVar[str] = "allocation"

    database_url: Annotated[str, "no server"] = field(default="sqlite:///allocation.db", repr=False)
    marketing_email: Annotated[str, "not a real address"] = "marketing@example.com"
    coupon_reminder_seconds: Annotated[Seconds, "25 days: five are left to redeem"] = 25 * DAY
    coupon_expiry_seconds: Annotated[Seconds, "30 days: then others may have it"] = 30 * DAY

    def __post_init__(self) -> None:
        EngineSettings.__post_init__(self)  # plain `super()` fails in a class with slots
        try:
            EmailAddress(self.marketing_email)
        except InvalidValue:
            raise self.refused("marketing_email", "is not an e-mail address") from None
