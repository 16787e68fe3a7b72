"""The settings of the extension, read together with the others: see `aftercommit.settings`."""

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Annotated

from msgspec import Meta

from aftercommit.settings import EngineSettings

Address = Annotated[str, Meta(max_length=254, pattern=r'^[^\s@<>()\[\],;:"\\]+@[^\s@<>,;:"\\]+$')]

SQLITE_FILE = re.compile(r"sqlite(?:\+\w+)?:///(?:file:)?([^?]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """Where e-mails go, and who sends them.

    URLs may contain passwords, and never show in `repr`.
    """

    mail_url: Annotated[str | None, "a folder, if on SQLite"] = field(default=None, repr=False)
    mail_from: Annotated[Address | None, "APPLICATION@example.invalid: not a real address"] = None


def mail_folder(settings: EngineSettings) -> Path | None:
    """Return the folder in which e-mails are kept: the named one, or one next to the SQLite file.

    None if they are sent, or if no URL is set.
    """
    url = settings.of(SmtpSettings).mail_url
    if url is None and (beside := SQLITE_FILE.match(settings.database_url)):
        file = PurePath(beside[1])
        return Path(f"{file.parent / file.stem}-mail")
    scheme, _, folder = (url or "").partition(":")
    return Path(folder) if scheme == "maildir" and folder else None
