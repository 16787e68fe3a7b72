"""A folder for e-mails, as long as there is no mail server: a Maildir, which mail programs open."""

import os
from email.message import EmailMessage
from pathlib import Path
from tempfile import NamedTemporaryFile

from aftercommit import IdempotencyKey
from anyio import to_thread


class MaildirEmailSender:
    """Keeps each e-mail once, for nobody else to read. The first one makes the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(
        self, recipient: str, subject: str, text: str, *, idempotency_key: IdempotencyKey
    ) -> None:
        """Return when the e-mail is in the folder.

        :raises OSError: if the folder cannot be made or written to
        """
        message = EmailMessage()
        message["To"] = recipient
        message["Subject"] = subject
        name = idempotency_key.replace(":", ".")
        message["Message-ID"] = f"<{name}@shop>"
        message.set_content(text)
        await to_thread.run_sync(self._keep, name, bytes(message))

    def _keep(self, name: str, text: bytes) -> None:
        for folder in (self._folder, *(self._folder / part for part in ("tmp", "new", "cur"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder / "tmp", delete=False) as file:
            file.write(text)
        os.replace(file.name, self._folder / "new" / name)  # a repetition takes its own place
