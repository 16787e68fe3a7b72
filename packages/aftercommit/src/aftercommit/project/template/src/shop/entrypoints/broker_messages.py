"""The messages as other services see them, by a message broker."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

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
"""What the fields of messages hold in the examples of the AsyncAPI document."""
