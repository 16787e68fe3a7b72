"""The rules: an order's checkout, which remembers what has happened and decides what is next.

`Checkout` is the process. It is an aggregate like any other: its methods take a fact, in any order
and however late, and record what has to be done now. Nothing here knows of handlers, retries or
time, so a unit test calls one method after the other.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal
from uuid import UUID

from aftercommit import Refused

Why = Literal["out of stock", "payment refused", "payment failed", "too late"]


class Command:
    """What somebody wants to be done."""


class Event:
    """What has happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder(Command):
    """Order some pieces of an article, to be paid with a card."""

    order_id: UUID
    article: str
    pieces: int
    card: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPayment(Command):
    """The payment service has charged the card."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpPayment(Command):
    """The card will not be charged; unless it is `certain`, that may have happened already."""

    order_id: UUID
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRefund(Command):
    """The payment service has nothing of this order any more, and takes nothing."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced(Event):
    """Somebody has ordered something."""

    order_id: UUID
    article: str
    pieces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StockReserved(Event):
    """The pieces of an order are set aside."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class StockDenied(Event):
    """There are not enough pieces left for an order."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentDue(Event):
    """The card of an order has to be charged."""

    order_id: UUID
    pieces: int
    card: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundDue(Event):
    """The payment of an order is to be undone, whether it has happened or not."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingDue(Event):
    """An order is reserved and paid."""

    order_id: UUID
    article: str
    pieces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled(Event):
    """An order will not be shipped; `reserved` pieces are needed no more."""

    order_id: UUID
    article: str
    reserved: int
    why: Why


class Aggregate:
    """What all aggregates have in common."""

    version: int
    recorded: ClassVar[tuple[Event, ...]] = ()

    def record(self, event: Event) -> None:
        """Remember an event until the commit."""
        self.__dict__["recorded"] = (*self.recorded, event)

    def pull_events(self) -> tuple[Event, ...]:
        """Return what was recorded, once."""
        recorded = self.recorded
        self.__dict__["recorded"] = ()
        return recorded


class UnknownOrder(Refused):
    """No order has this id."""


class UnknownArticle(Refused):
    """The shop does not have this article."""


class Stock(Aggregate):
    """The pieces of an article: never more are reserved than there are."""

    def __init__(self, article: str, pieces: int) -> None:
        self.article, self.version = article, 0
        self.free, self.shipped = pieces, 0

    @property
    def subject(self) -> str:
        """What its events are about."""
        return self.article

    def reserve(self, order_id: UUID, pieces: int) -> None:
        """Set pieces aside for an order, if there are enough."""
        if pieces > self.free:
            self.record(StockDenied(order_id=order_id))
            return
        self.free -= pieces
        self.record(StockReserved(order_id=order_id))

    def release(self, pieces: int) -> None:
        """Take back what was set aside."""
        self.free += pieces

    def ship(self, pieces: int) -> None:
        """Send what was set aside."""
        self.shipped += pieces


class Checkout(Aggregate):
    """The process of one order, from its placing to its end: shipped, or cancelled."""

    def __init__(self, order_id: UUID, article: str, pieces: int, card: str) -> None:
        self.id, self.version = order_id, 0
        self.article, self.pieces, self.card = article, pieces, card
        self.is_reserved = self.is_shipping = self.is_refunded = False
        self.payment: Literal["none", "due", "paid", "failed"] = "none"
        self.cancelled: Why | None = None
        self.record(OrderPlaced(order_id=order_id, article=article, pieces=pieces))

    @property
    def subject(self) -> str:
        """What its events are about."""
        return str(self.id)

    def stock_reserved(self) -> None:
        """Ask for the payment; or let the pieces go, if the order was cancelled meanwhile."""
        self.is_reserved = True
        if self.cancelled:
            self._record_cancelled(self.cancelled)
            return
        self.payment = "due"
        self.record(PaymentDue(order_id=self.id, pieces=self.pieces, card=self.card))

    def stock_denied(self) -> None:
        """Cancel the order."""
        self._cancel("out of stock")

    def paid(self) -> None:
        """Ship the order; or give the money back, if it comes too late."""
        self.payment = "paid"
        if self.cancelled:
            self.record(RefundDue(order_id=self.id))
            return
        self.is_shipping = True
        shipping = ShippingDue(order_id=self.id, article=self.article, pieces=self.pieces)
        self.record(shipping)

    def payment_given_up(self, *, certain: bool) -> None:
        """Cancel the order. What is not certain has to be undone: an answer may have been lost."""
        self.payment = "failed"
        if not certain:
            self.record(RefundDue(order_id=self.id))
        self._cancel("payment refused" if certain else "payment failed")

    def deadline_passed(self) -> None:
        """Cancel the order, unless it is paid."""
        if self.payment != "paid":
            self._cancel("too late")

    def refunded(self) -> None:
        """Remember that nothing of the payment is left."""
        self.is_refunded = True

    def _cancel(self, why: Why) -> None:
        if not self.cancelled:
            self._record_cancelled(why)
        self.cancelled = self.cancelled or why

    def _record_cancelled(self, why: Why) -> None:
        reserved = self.pieces if self.is_reserved else 0
        cancelled = OrderCancelled(
            order_id=self.id, article=self.article, reserved=reserved, why=why
        )
        self.record(cancelled)
