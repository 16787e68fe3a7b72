"""A folder that keeps e-mails when no mail server is configured.

It is a Maildir (https://cr.yp.to/proto/maildir.html): mail programs can open it.
"""

import os
from collections.abc import Callable, Collection
from email import policy
from email.parser import BytesHeaderParser
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from anyio import to_thread

from aftercommit.claims import IdempotencyKey
from aftercommit.extensions.smtp.mime import Email, compose, safe_key

ID = 36  # characters of the id of an event, with which an idempotency key begins

_HEADERS = BytesHeaderParser(policy=policy.default.clone(utf8=True))


class MaildirEmailSender:
    """Keeps each e-mail once, even if it is sent again. The first one creates the folder."""

    def __init__(self, folder: Path, *, sender: str, application: str) -> None:
        self._folder = folder
        self._compose = partial(compose, sender=sender, application=application)

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the e-mail is on the disk.

        :raises OSError: if the folder cannot be created or written to
        """
        message = self._compose(email, idempotency_key=idempotency_key)
        text = message.as_bytes(policy=policy.default.clone(utf8=True))
        await to_thread.run_sync(self._deliver_to_maildir, safe_key(idempotency_key), text)

    def _deliver_to_maildir(self, name: str, text: bytes) -> None:
        for folder in (self._folder, *(self._folder / part for part in ("tmp", "new", "cur"))):
            folder.mkdir(mode=0o700, exist_ok=True)
        if any((self._folder / "cur").glob(f"{name}:*")):  # somebody has already read it
            return
        with NamedTemporaryFile(dir=self._folder / "tmp", prefix=name, delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self._folder / "new" / name)  # a repetition replaces the file
        _fsync_dir(self._folder / "new")


def remove_emails(
    folder: Path,
    *,
    of_events: Collection[str],
    to: Collection[str],
    comparable: Callable[[str], str] = str,
) -> int:
    """Remove the kept e-mails of these events, or to these addresses; return how many.

    An application uses it to erase personal data. `comparable` returns the form in which addresses
    are compared. A folder that does not exist has no e-mails.
    """
    kept = [file for part in ("tmp", "new", "cur") for file in (folder / part).glob("*")]
    found = [
        file for file in kept if file.name[:ID] in of_events or comparable(_recipient(file)) in to
    ]
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)


def _recipient(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return str(_HEADERS.parse(opened)["To"])
    except FileNotFoundError:  # just read or removed by somebody
        return ""


def _fsync_dir(folder: Path) -> None:
    """Make sure that the file's name is on the disk, too, where the system supports it."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
