"""A double for e-mail, which is an external effect: tests of use cases have no other."""

from dataclasses import dataclass, field

from aftercommit import IdempotencyKey

from allocation.service_layer.emails import Email


@dataclass
class RecordingEmailSender:
    """Keeps the e-mails it is given; for an address in `errors`, it raises the error instead."""

    sent: list[Email] = field(default_factory=list)
    keys: list[IdempotencyKey] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        self.keys.append(idempotency_key)
        if error := self.errors.get(email.recipient):
            raise error
        self.sent.append(email)

    def subjects_to(self, recipient: str) -> list[str]:
        """Return the subjects of the e-mails to an address, sorted: handlers run concurrently."""
        return sorted(email.subject for email in self.sent if email.recipient == recipient)
