"""The commands and events: plain data, of types that JSON can hold."""

from dataclasses import dataclass
from uuid import UUID

from shop.domain.bases import Command, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder(Command):
    """Order some articles. Repeating it with the same id changes nothing."""

    order_id: UUID
    email: str
    articles: dict[str, int]  # how many of each


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder(Command):
    """Cancel an order."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced(Event):
    """There is a new order."""

    order_id: UUID
    email: str
    pieces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(Event):
    """An order was cancelled."""

    order_id: UUID
    email: str
