"""A folder to keep e-mails in, where no mail server is named.

It is a Maildir (https://cr.yp.to/proto/maildir.html): mail programs can open it.
"""

import os
from email import policy
from pathlib import Path
from tempfile import NamedTemporaryFile

from aftercommit import IdempotencyKey
from anyio import to_thread

from allocation.adapters.mime import compose, safe_key
from allocation.service_layer.emails import Email


class MaildirEmailSender:
    """Keeps each e-mail once, however often it comes. The first one makes the folder."""

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder, self._sender = folder, sender

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the e-mail is on the disk.

        :raises OSError: if the folder cannot be made or written to
        """
        message = compose(email, sender=self._sender, idempotency_key=idempotency_key)
        text = message.as_bytes(policy=policy.default.clone(utf8=True))
        await to_thread.run_sync(self._deliver_to_maildir, safe_key(idempotency_key), text)

    def _deliver_to_maildir(self, name: str, text: bytes) -> None:
        for folder in (self._folder, *(self._folder / part for part in ("tmp", "new", "cur"))):
            folder.mkdir(mode=0o700, exist_ok=True)
        if any((self._folder / "cur").glob(f"{name}:*")):  # somebody has read it already
            return
        with NamedTemporaryFile(dir=self._folder / "tmp", prefix=name, delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self._folder / "new" / name)  # a repetition takes its own place
        _fsync_dir(self._folder / "new")


def _fsync_dir(folder: Path) -> None:
    """See to it that the name is on the disk, too; where that cannot be asked for, it has to do."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
