"""Orders coupons from the service `allocation`, by a command in its words.

That service's terms are used only here and in `entrypoints/broker_messages.py`.
"""

from aftercommit import IdempotencyKey
from aftercommit.extensions.brokers.command_sender import CommandSender


class AllocationCouponSupply:
    """Sends `add_coupon_batch` to `allocation.commands`.

    A repetition is recognized there by its id; after the id is forgotten there, by the reference.
    """

    def __init__(self, sender: CommandSender) -> None:
        self._sender = sender

    async def order(
        self, reference: str, quantity: int, *, idempotency_key: IdempotencyKey
    ) -> None:
        batch = {"reference": reference, "quantity": quantity}
        await self._sender.send(
            "allocation", "add_coupon_batch", batch, idempotency_key=idempotency_key
        )
