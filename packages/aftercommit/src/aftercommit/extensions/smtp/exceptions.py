"""The errors of mail servers, and what the replies of a mail server mean."""

import re
import smtplib

from aftercommit.errors import Refused, Unavailable

CLOSING = 421  # RFC 5321: the server closes the connection, whatever the command was
NEED_A_LOGIN = {530, 534, 535, 538}  # RFC 4954: an operator can fix that
NO_SUCH_ADDRESS = re.compile(r"5\.1\.[1236]\b")  # RFC 3463: mailbox, domain, syntax, moved away


class AddressUndeliverable(Refused):
    """The mail server says that the address does not exist, so nothing can ever be sent to it.

    A handler may catch this error and return a command that stores the fact.
    """

    def __init__(self) -> None:
        super().__init__("the mail server says that there is no such e-mail address")


class EmailRefused(Refused):
    """The mail server will never accept this e-mail."""

    def __init__(self, reply: str) -> None:
        super().__init__(f"the mail server refuses this e-mail: {reply}")


class UnsafeHeader(Refused):
    """A text in the head of an e-mail would say something else there than it says.

    Somebody may have made it so, to write other headers, or the text of the e-mail.
    """

    def __init__(self, header: str) -> None:
        super().__init__(f"the {header} of the e-mail is not one line that is sent as it is")


class MailServerUnavailable(Unavailable):
    """The mail server cannot be reached, closes the connection, or takes no e-mail now."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"mail server {server} is not available: {reason}")
        self.reason = reason


def translate_error(error: OSError, server: str, *, knows_recipient: bool) -> Exception | None:
    """Return what an error means: the server is unavailable, or refuses this e-mail for good.

    "Not now" is said to each e-mail, unless the server knows the recipient: then it may be said to
    this one alone. None in that case, or if the settings are wrong: the attempt counts.
    """
    code, text = _reply_of(error)
    is_final = 500 <= code < 600 and code not in NEED_A_LOGIN
    if not knows_recipient and (400 <= code < 500 or code in NEED_A_LOGIN):
        return MailServerUnavailable(server, f"{code} {text}")
    match error:
        case smtplib.SMTPServerDisconnected() | smtplib.SMTPConnectError():
            return MailServerUnavailable(server, str(error))
        case smtplib.SMTPRecipientsRefused() if is_final and NO_SUCH_ADDRESS.match(text):
            return AddressUndeliverable()
        case (
            smtplib.SMTPSenderRefused() | smtplib.SMTPRecipientsRefused() | smtplib.SMTPDataError()
        ) if is_final:
            return EmailRefused(f"{code} {text}")
        case smtplib.SMTPNotSupportedError() if "SMTPUTF8" in str(error):
            return EmailRefused(str(error))
        case smtplib.SMTPException() if code != CLOSING:
            return None
    return MailServerUnavailable(server, str(error))


def _reply_of(error: OSError) -> tuple[int, str]:
    """Return the code and the text of the server's reply; 0 if there was none."""
    code, text = getattr(error, "smtp_code", 0), getattr(error, "smtp_error", "")
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        [(code, text)] = error.recipients.values()
    return code, text.decode(errors="replace") if isinstance(text, bytes) else text
