"""E-mail without a process: what its settings choose from."""

from aftercommit.extensions.smtp import smtp_sender as smtp_sender
from aftercommit.extensions.smtp.maildir import MaildirEmailSender as MaildirEmailSender
from aftercommit.extensions.smtp.session import SmtpSession as SmtpSession
from aftercommit.extensions.smtp.smtp_sender import SmtpEmailSender as SmtpEmailSender
from aftercommit.extensions.smtp.smtp_url import SmtpServer as SmtpServer
