"""The room "smtp": e-mail by a mail server, one conversation for each."""

from allocation.adapters.smtp.conversation import EmailRefused
from allocation.adapters.smtp.notifications import MailServerUnavailable, SmtpNotifications
from allocation.adapters.smtp.server import SmtpServer

__all__ = ["EmailRefused", "MailServerUnavailable", "SmtpNotifications", "SmtpServer"]
