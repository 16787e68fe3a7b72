"""The handlers: each lets an aggregate decide, or asks the payment service. The table is last."""

from datetime import timedelta

from aftercommit import GivenUp, Handlers, Later, Limited, Otherwise, on

from examples.checkout import domain
from examples.checkout.domain import Checkout, Command, Event
from examples.checkout.payments import Payments
from examples.checkout.storage import UnitOfWork


async def place_order(command: domain.PlaceOrder, uow: UnitOfWork) -> None:
    """Begin the process, unless it has begun."""
    if await uow.checkouts.find(command.order_id) is None:
        order = command.order_id, command.article, command.pieces, command.card
        uow.checkouts.add(Checkout(*order))


async def reserve_stock(event: domain.OrderPlaced, uow: UnitOfWork) -> None:
    """Set the pieces aside."""
    (await uow.stocks.get(event.article)).reserve(event.order_id, event.pieces)


async def ask_for_payment(event: domain.StockReserved, uow: UnitOfWork) -> None:
    """Go on with the payment."""
    (await uow.checkouts.get(event.order_id)).stock_reserved()


async def cancel_without_stock(event: domain.StockDenied, uow: UnitOfWork) -> None:
    """End without a payment."""
    (await uow.checkouts.get(event.order_id)).stock_denied()


async def charge_card(event: domain.PaymentDue, payments: Payments) -> domain.ConfirmPayment:
    """Charge the card: at least once, with the same key."""
    await payments.charge(event.order_id, event.card, event.pieces)
    return domain.ConfirmPayment(order_id=event.order_id)


async def give_up_payment(event: domain.PaymentDue, failure: GivenUp) -> domain.GiveUpPayment:
    """Let the process decide, when `charge_card` has failed for good."""
    certain = failure.reason == "refused"
    return domain.GiveUpPayment(order_id=event.order_id, certain=certain)


async def confirm_payment(command: domain.ConfirmPayment, uow: UnitOfWork) -> None:
    """Go on with shipping."""
    (await uow.checkouts.get(command.order_id)).paid()


async def cancel_without_payment(command: domain.GiveUpPayment, uow: UnitOfWork) -> None:
    """End, and undo what may have happened."""
    (await uow.checkouts.get(command.order_id)).payment_given_up(certain=command.certain)


async def cancel_if_unpaid(event: domain.OrderPlaced, uow: UnitOfWork) -> None:
    """End at the deadline."""
    (await uow.checkouts.get(event.order_id)).deadline_passed()


async def undo_payment(event: domain.RefundDue, payments: Payments) -> domain.ConfirmRefund:
    """Give the money back, or see to it that none is taken."""
    await payments.undo(event.order_id)
    return domain.ConfirmRefund(order_id=event.order_id)


async def confirm_refund(command: domain.ConfirmRefund, uow: UnitOfWork) -> None:
    """Remember that nothing is left of the payment."""
    (await uow.checkouts.get(command.order_id)).refunded()


async def release_stock(event: domain.OrderCancelled, uow: UnitOfWork) -> None:
    """Give the pieces back."""
    if event.reserved:
        (await uow.stocks.get(event.article)).release(event.reserved)


async def ship(event: domain.ShippingDue, uow: UnitOfWork) -> None:
    """Send the pieces."""
    (await uow.stocks.get(event.article)).ship(event.pieces)


def deadline(settings: object) -> float:
    """Return after how many seconds an order that is not paid is cancelled."""
    return float(getattr(settings, "deadline_seconds", timedelta(hours=1).total_seconds()))


HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[
        on(domain.PlaceOrder, place_order),
        on(domain.ConfirmPayment, confirm_payment),
        on(domain.GiveUpPayment, cancel_without_payment),
        on(domain.ConfirmRefund, confirm_refund),
    ],
    events=[
        on(domain.OrderPlaced, reserve_stock, Later(cancel_if_unpaid, after=deadline)),
        on(domain.StockReserved, ask_for_payment),
        on(domain.StockDenied, cancel_without_stock),
        on(
            domain.PaymentDue,
            Limited(Otherwise(charge_card, give_up_payment, within=deadline), at_once=5),
        ),
        on(domain.RefundDue, undo_payment),
        on(domain.OrderCancelled, release_stock),
        on(domain.ShippingDue, ship),
    ],
)
