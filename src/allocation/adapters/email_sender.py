"""E-mail by the engine's sender, whose errors are translated into those of the port."""

from aftercommit import IdempotencyKey
from aftercommit.extensions.smtp.exceptions import AddressUndeliverable

from allocation.service_layer.emails import Email
from allocation.service_layer.ports import EmailSender, NoSuchAddress

NOWHERE = ".invalid"  # RFC 2606: no server has such a name. Erased addresses end like this, too


class TranslatingEmailSender:
    """Sends e-mails, but asks no server about an address that cannot exist: see `EmailSender`."""

    def __init__(self, sender: EmailSender) -> None:
        self._sender = sender

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        if email.recipient.lower().endswith(NOWHERE):
            raise NoSuchAddress(f"no address ends with {NOWHERE}")
        try:
            await self._sender.send(email, idempotency_key=idempotency_key)
        except AddressUndeliverable as reply:
            raise NoSuchAddress(str(reply)) from reply
