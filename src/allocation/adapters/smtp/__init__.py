"""E-mail by SMTP: where the server is, one conversation with it, and the port over both."""

from allocation.adapters.smtp.conversation import EmailRefused
from allocation.adapters.smtp.notifications import MailServerUnavailable, SmtpNotifications
from allocation.adapters.smtp.server import SmtpServer

__all__ = ["EmailRefused", "MailServerUnavailable", "SmtpNotifications", "SmtpServer"]
