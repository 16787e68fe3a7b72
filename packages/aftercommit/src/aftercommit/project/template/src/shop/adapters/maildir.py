"""A folder for e-mails, as long as there is no mail server: a Maildir, which mail programs open."""

from email.message import EmailMessage
from mailbox import Maildir
from pathlib import Path

from aftercommit import IdempotencyKey
from anyio import to_thread


class MaildirEmailSender:
    """Keeps e-mails in a folder, which it makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for part in ("tmp", "new", "cur"):  # `Maildir` would, for each of many at once
            (folder / part).mkdir(parents=True, exist_ok=True)

    async def send(
        self, recipient: str, subject: str, text: str, *, idempotency_key: IdempotencyKey
    ) -> None:
        """Return when the e-mail is in the folder.

        :raises OSError: if it cannot be written
        """
        message = EmailMessage()
        message["To"], message["Subject"] = recipient, subject
        name = idempotency_key.replace(":", ".")
        message["Message-ID"] = f"<{name}@shop>"
        message.set_content(text)
        await to_thread.run_sync(self._keep, message)

    def _keep(self, message: EmailMessage) -> None:
        folder = Maildir(self._folder)
        try:
            folder.add(message)
        finally:
            folder.close()
