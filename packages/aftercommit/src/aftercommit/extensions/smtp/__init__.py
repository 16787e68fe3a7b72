"""The extension "smtp": e-mail through a mail server, or kept in a folder. It needs no library.

A session with a mail server ends in time, whatever the server does: begin with `session.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aftercommit.process.parts import Extension, Parts

if TYPE_CHECKING:
    from aftercommit.extensions.smtp.maildir import MaildirEmailSender
    from aftercommit.extensions.smtp.smtp_sender import SmtpEmailSender
    from aftercommit.settings import EngineSettings

MAIL_URLS = (
    "maildir:FOLDER or smtp://user:password@host:port[?starttls=1] or"
    " smtps://user:password@host:port"
)


class SmtpExtension(Extension):
    """Adds a port for e-mail. Handlers ask for it by the name `port`.

    Its one method is `await emails.send(email, idempotency_key=idempotency_key)`. An e-mail is any
    object with a `recipient`, a `subject` and a `text`. For the errors see `SmtpEmailSender`.

    >>> from aftercommit.extensions.smtp import SmtpExtension
    >>> [*SmtpExtension().parts().ports]
    ['emails']
    """

    def __init__(self, port: str = "emails") -> None:
        self._port = port

    def parts(self) -> Parts:
        return Parts(
            name="smtp",
            options={
                "--mail-url": "Where e-mails go: maildir:FOLDER or smtp://user:password@host:port"
                " or smtps://user:password@host:port. Default: a folder next to the SQLite file"
            },
            settings="aftercommit.extensions.smtp.settings:SmtpSettings",
            ports={self._port: _email_sender},
        )


def _email_sender(
    settings: EngineSettings, *, delivers: bool
) -> MaildirEmailSender | SmtpEmailSender | None:
    """Return the sender for the settings: by SMTP, or into a folder.

    :raises InvalidValue: if the URL is wrong, or if there is none and the process `delivers`
    """
    import logging

    from aftercommit.extensions.smtp.settings import SmtpSettings, mail_folder

    of_mail, application = settings.of(SmtpSettings), settings.application
    sender = of_mail.mail_from or f"{application}@example.invalid"
    if folder := mail_folder(settings):
        from aftercommit.extensions.smtp.maildir import MaildirEmailSender

        if delivers:
            logging.getLogger(__name__).warning("e-mails are not sent, but kept in %s", folder)
        return MaildirEmailSender(folder, sender=sender, application=application)
    if of_mail.mail_url:
        from aftercommit.extensions.smtp.smtp_sender import SmtpEmailSender
        from aftercommit.extensions.smtp.smtp_url import SmtpServer

        server = SmtpServer.from_url(of_mail.mail_url)
        return SmtpEmailSender(server, sender=sender, application=application)
    if delivers:
        problem = f"is not set, and only a SQLite file gives it a default: {MAIL_URLS}"
        raise settings.refused("mail_url", problem)
    return None
