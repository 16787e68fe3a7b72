"""The application as a process, for the pages and the playground: with a place for its e-mails."""

from dataclasses import dataclass
from typing import ClassVar

from aftercommit_tests.processes import Installation
from aftercommit_tests.warm import WarmProcess

from checks.mail_server import MailServer


class WarmAllocation(WarmProcess):
    """Forked from a process that has imported the application."""

    package = "allocation"
    mapping = "allocation.adapters.orm"


@dataclass
class Application(Installation):
    """The application in a folder of its own."""

    module: str = "allocation"
    mail: MailServer | None = None
    name: ClassVar[str] = "allocation"
    process: ClassVar[type[WarmProcess]] = WarmAllocation

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a process: e-mails go where they are looked for."""
        mail = self.mail.url if self.mail else f"maildir:{self.folder / 'mail'}"
        if self.mail or self.postgres_url:
            settings = {"mail_url": self.settings.get("mail_url", mail), **settings}
        return super().environment(**settings)
