"""Tomorrow's version of the program: it has one more handler. Run it like today's.

python -m playground.one_more_handler worker
"""

import sys

from aftercommit import IdempotencyKey

from allocation.domain.events import UserRegistered
from allocation.entrypoints.app import cli
from allocation.service_layer.emails import Email
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.ports import EmailSender

SUBJECT = "There is a newsletter now"


async def announce_newsletter(
    event: UserRegistered, notifications: EmailSender, idempotency_key: IdempotencyKey
) -> None:
    """Tell everybody who has registered, whenever that was."""
    text = "Hello,\n\nthere is a newsletter now.\n"
    email = Email(recipient=event.email, subject=SUBJECT, text=text)
    await notifications.send(email, idempotency_key=idempotency_key)


if __name__ == "__main__":
    TABLE.events[UserRegistered] = (*TABLE.events[UserRegistered], announce_newsletter)
    cli(sys.argv[1:])
