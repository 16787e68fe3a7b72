"""E-mail to users, except to addresses that are known not to exist."""

from aftercommit import IdempotencyKey
from aftercommit.extensions.smtp.exceptions import AddressUndeliverable

from allocation.domain.commands import RecordBounce
from allocation.domain.events import UserId
from allocation.service_layer.emails import Email
from allocation.service_layer.ports import EmailSender, IsUndeliverable

NOWHERE = ".invalid"  # RFC 2606: no server has this name


class BounceReportingMailer:
    """Sends e-mails to users, and turns a mail server's reply about an address into a command."""

    def __init__(self, notifications: EmailSender, is_undeliverable: IsUndeliverable) -> None:
        self._notifications, self._is_undeliverable = notifications, is_undeliverable

    async def send(
        self, email: Email, user_id: UserId, idempotency_key: IdempotencyKey
    ) -> RecordBounce | None:
        bounce = RecordBounce(user_id=user_id, email=email.recipient)
        is_nowhere = email.recipient.lower().endswith(NOWHERE)
        if is_nowhere or await self._is_undeliverable(email.recipient):
            return bounce
        try:
            await self._notifications.send(email, idempotency_key=idempotency_key)
        except AddressUndeliverable:
            return bounce
        return None
