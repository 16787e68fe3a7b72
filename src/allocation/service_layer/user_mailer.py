"""The port for e-mail, and e-mail to users: to no address that is known not to exist."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from aftercommit import IdempotencyKey, Refused

from allocation.domain.commands import RecordBounce
from allocation.domain.events import UserId
from allocation.service_layer.emails import Email

NOWHERE = ".invalid"  # RFC 2606: no server is called that

IsUndeliverable = Callable[[str], Awaitable[bool]]
"""A query: tell whether a user has this e-mail address, and it is known not to exist."""


class AddressUndeliverable(Refused):
    """The mail server says that there is no such e-mail address, so nothing can ever be sent to it.

    Raised by `EmailSender.send`.
    """

    def __init__(self, address: str) -> None:
        super().__init__("the mail server says that there is no such e-mail address")
        self.address = address


class EmailSender(Protocol):
    """E-mail."""

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Hand the e-mail to a mail server. A repetition carries the same key.

        :raises Unavailable: only if the server is away: that is tried again until it is back
        :raises AddressUndeliverable: if there is no such address
        :raises Exception: whatever else went wrong; the delivery is tried again, and parked then
        """


class UserMailer:
    """The port for e-mail to users: `EmailSender`, and what a mail server answers.

    A handler has to *return* what `send` returns: `await user_mail.send(…)` alone would lose the
    answer. So it is annotated with `RecordBounce | None`: a test sees to that, and mypy to the
    `return`.
    """

    def __init__(self, notifications: EmailSender, is_undeliverable: IsUndeliverable) -> None:
        self._notifications, self._is_undeliverable = notifications, is_undeliverable

    async def send(
        self, email: Email, user_id: UserId, idempotency_key: IdempotencyKey
    ) -> RecordBounce | None:
        """Send an e-mail; if there is no such address, return what the handler has to return.

        If that is known already, or can be seen, nothing is sent. For what else is raised, see
        `EmailSender`.
        """
        bounce = RecordBounce(user_id=user_id, email=email.recipient)
        is_nowhere = email.recipient.lower().endswith(NOWHERE)
        if is_nowhere or await self._is_undeliverable(email.recipient):
            return bounce
        try:
            await self._notifications.send(email, idempotency_key=idempotency_key)
        except AddressUndeliverable:
            return bounce
        return None
