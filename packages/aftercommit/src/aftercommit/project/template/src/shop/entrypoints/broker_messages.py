"""The messages of brokers: ours, as other services see them, and theirs, as we understand them.

A plain function turns what another service publishes into a command of ours. Its words end in
this file. What we rely on is in `contracts`, which a test compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aftercommit.extensions.brokers.subscriptions import Inbound, Subscription

from shop.domain.bases import Command
from shop.domain.messages import CancelOrder, PlaceOrder

ORDER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")

ACCEPTED_FROM_BROKERS: Sequence[type[Command]] = (PlaceOrder, CancelOrder)
"""The commands that others may send; all others are refused."""

EXAMPLE_VALUES: Mapping[str, Any] = {
    "order_id": ORDER,
    "subject": ORDER,
    "email": "ivan@example.com",
    "articles": {"lamp": 2},
    "pieces": 2,
}
"""The values of fields in the examples of the AsyncAPI document."""


@dataclass(frozen=True, slots=True)
class FailedPayment:
    """What we rely on when a payment has failed; the messages say more."""

    payment: str
    order: UUID
    retrying: bool = False


def payment_failed(message: Inbound) -> CancelOrder | None:
    """Cancel an order that nobody pays; while the payment is retried, do nothing."""
    payment = message.data(FailedPayment)
    if payment.retrying:
        return None
    return CancelOrder(order_id=payment.order)


SUBSCRIPTIONS = [
    Subscription(
        "payments",
        payment_failed,
        exchange="payments.events",
        routing_keys=["payment.failed"],
        topic="failed-payments",
        message_id=lambda message: message.data(FailedPayment).payment,  # theirs, for repetitions
        relies_on=FailedPayment,
    )
]
