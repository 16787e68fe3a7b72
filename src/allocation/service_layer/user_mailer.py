"""E-mail to users: to no address that is known not to exist."""

from aftercommit import IdempotencyKey

from allocation.domain.commands import RecordBounce
from allocation.domain.events import UserId
from allocation.service_layer.emails import Email
from allocation.service_layer.ports import AddressUndeliverable, EmailSender, IsUndeliverable

NOWHERE = ".invalid"  # RFC 2606: no server is called that


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
