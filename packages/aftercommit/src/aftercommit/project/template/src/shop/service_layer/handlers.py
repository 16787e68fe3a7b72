"""The handlers, and at the end the table that maps messages to handlers.

A handler that asks for `uow` changes the database, and takes effect exactly once. One that asks for
`emails` has an external effect, at least once, with the same `idempotency_key`. None asks for both:
what has to look something up for its effect asks for a query, such as `is_cancelled`. Any of them
may ask for `now`, `new_id` and `new_token`.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from aftercommit import PUBLISH, Handlers, IdempotencyKey, Later, on

from shop.domain import messages
from shop.domain.bases import Command, Event
from shop.domain.orders import Order
from shop.service_layer.ports import Email, EmailSender
from shop.service_layer.unit_of_work import UnitOfWork

FEEDBACK_AFTER = timedelta(days=14)
IsCancelled = Callable[[UUID], Awaitable[bool]]


async def place_order(command: messages.PlaceOrder, uow: UnitOfWork) -> None:
    """Place an order, unless it exists."""
    order = Order.place(command.order_id, command.email, command.articles)
    if known := await uow.orders.find(order.id):
        known.require_same(order)
    else:
        uow.orders.add(order)


async def cancel_order(command: messages.CancelOrder, uow: UnitOfWork) -> None:
    """Cancel an order."""
    (await uow.orders.get(command.order_id)).cancel()


async def count_order(event: messages.OrderPlaced, uow: UnitOfWork) -> None:
    """Keep the statistics."""
    await uow.statistics.count("placed")


async def count_cancellation(event: messages.OrderCancelled, uow: UnitOfWork) -> None:
    """Keep the statistics."""
    await uow.statistics.count("cancelled")


async def confirm_order(
    event: messages.OrderPlaced, emails: EmailSender, idempotency_key: IdempotencyKey
) -> None:
    """Confirm to the customer that the order has arrived."""
    text = f"Thank you for your order of {event.pieces} pieces.\n"
    email = Email(event.email, "Your order", text)
    await emails.send(email, idempotency_key=idempotency_key)


async def ask_for_feedback(
    event: messages.OrderPlaced,
    emails: EmailSender,
    is_cancelled: IsCancelled,
    idempotency_key: IdempotencyKey,
) -> None:
    """Ask the customer for feedback, after some time, unless the order was cancelled."""
    if await is_cancelled(event.order_id):
        return
    email = Email(event.email, "How was it?", "How do you like what you ordered?\n")
    await emails.send(email, idempotency_key=idempotency_key)


HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[
        on(messages.PlaceOrder, place_order),
        on(messages.CancelOrder, cancel_order),
    ],
    events=[
        on(
            messages.OrderPlaced,
            count_order,
            confirm_order,
            Later(ask_for_feedback, after=FEEDBACK_AFTER),
            PUBLISH,
        ),
        on(messages.OrderCancelled, count_cancellation, PUBLISH),
    ],
)
