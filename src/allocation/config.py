"""The settings of this application, beside those of the engine. Bootstrap and entrypoints read it.

Each is an environment variable: `mail_url` is `ALLOCATION_MAIL_URL`.
"""

import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, ClassVar

from aftercommit import EngineSettings, Seconds

from allocation.domain.error_kinds import InvalidValue
from allocation.domain.values import EmailAddress

DAY = 86400.0  # seconds
MAIL_URLS = "maildir:FOLDER or smtp://user:password@host:port[?starttls=1] or smtps://user:password@host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Everything that can be set. URLs may hold passwords, so they never show in `repr`."""

    application: ClassVar[str] = "allocation"

    database_url: Annotated[str, "no server"] = field(default="sqlite:///allocation.db", repr=False)
    mail_url: Annotated[str | None, "a folder, if on SQLite"] = field(default=None, repr=False)
    mail_from: Annotated[str, "not a real address"] = "allocation@example.invalid"
    marketing_email: Annotated[str, "not a real address"] = "marketing@example.invalid"
    coupon_reminder_seconds: Annotated[Seconds, "25 days: five are left to redeem"] = 25 * DAY
    coupon_expiry_seconds: Annotated[Seconds, "30 days: then others may have it"] = 30 * DAY

    @property
    def mail_folder(self) -> str | None:
        """The folder in which e-mails are kept: the one named, else one beside a SQLite file."""
        scheme, _, folder = (self.mail_url or "").partition(":")
        beside = re.match(r"sqlite(?:\+\w+)?:///(?:file:)?([^?]+)", self.database_url)
        if self.mail_url is None and beside:
            file = PurePath(beside[1])
            return f"{file.parent / file.stem}-mail"
        return folder if scheme == "maildir" and folder else None

    def __post_init__(self) -> None:
        EngineSettings.__post_init__(self)  # `super()` does not know a class that has slots
        for name in ("mail_from", "marketing_email"):
            try:
                EmailAddress(getattr(self, name))
            except InvalidValue:
                raise self.refused(name, "is not an e-mail address") from None
