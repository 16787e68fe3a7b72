"""The extension "smtp": e-mail by a mail server, one session for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.extensions.base import Extension

if TYPE_CHECKING:
    from allocation.service_layer.ports import Notifications


class SmtpExtension(Extension):
    """What it brings to the program."""

    mail_url_examples = (
        "smtp://user:password@host:port",
        "smtps://user:password@host:port",
    )

    def notifications(self, url: str, sender: str) -> Notifications | None:
        if url.partition(":")[0].lower() not in ("smtp", "smtps"):
            return None
        from allocation.extensions.smtp.notifications import SmtpNotifications
        from allocation.extensions.smtp.server import SmtpServer

        return SmtpNotifications(SmtpServer.from_url(url), sender=sender)
