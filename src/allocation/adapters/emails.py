"""E-mail: how one is written down, and a folder to keep them in where no mail server is named.

The folder is a Maildir (https://cr.yp.to/proto/maildir.html): mail programs can open it.
"""

import os
from email import policy
from email.message import EmailMessage
from email.utils import localtime
from pathlib import Path
from tempfile import NamedTemporaryFile

from anyio import to_thread

from allocation.service_layer.deliveries import IdempotencyKey
from allocation.service_layer.emails import Email


def compose(email: Email, *, sender: str, idempotency_key: IdempotencyKey) -> EmailMessage:
    """Return the message. Its Message-ID is made from the key: mail systems drop repetitions."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = email.recipient
    message["Date"] = localtime()
    message["Subject"] = email.subject
    message["Message-ID"] = f"<{_safe_key(idempotency_key)}@allocation>"
    message.set_content(email.text)
    return message


class MaildirNotifications:
    """Keeps each e-mail once, however often it comes. The first one makes the folder."""

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Return when the e-mail is on the disk.

        :raises OSError: if the folder cannot be made or written to
        """
        message = compose(email, sender=self._sender, idempotency_key=idempotency_key)
        text = message.as_bytes(policy=policy.default.clone(utf8=True))
        await to_thread.run_sync(self._deliver_to_maildir, _safe_key(idempotency_key), text)

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


def _safe_key(key: IdempotencyKey) -> str:
    """Return the key without the one character in it that ids and file names cannot have."""
    return key.replace(":", ".")


def _fsync_dir(folder: Path) -> None:
    """See to it that the name is on the disk, too; where that cannot be asked for, it has to do."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
