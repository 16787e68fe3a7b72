"""The handlers, one function a use case, and the two tables that say what handles what.

A handler asks for what it needs by parameter name, and what it asks for says what it is promised:

- `uow`, to change the database: it takes effect exactly once, when `uow.commit()` is its last word.
- a port with an effect outside (`notifications`): at least once, and each time with the same
  `idempotency_key`. It may look things up in `reading`, which has nothing to commit.

Nobody can have both: a failure between the two would double the one or lose the other, so such a
handler is refused at start. Let the one with `uow` record an event, and handle that.
"""

from collections.abc import Callable
from datetime import datetime

from allocation.domain import commands, events
from allocation.domain.model import CouponBatch, User
from allocation.domain.values import BatchReference, EmailAddress, PersonName, Quantity
from allocation.service_layer import emails
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.ports import Notifications, Publisher, Reading
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.wiring import Handler


async def register_user(command: commands.RegisterUser, uow: UnitOfWork) -> None:
    """Register a user, once: a repetition, while the user has the same data, changes nothing."""
    name, email = PersonName(command.name), EmailAddress(command.email)
    user = await uow.users.find(command.user_id)
    if user is None:
        uow.users.add(User.register(command.user_id, name, email))
    else:
        user.confirm_registration(name, email)
    await uow.commit()


async def change_email(command: commands.ChangeEmail, uow: UnitOfWork) -> None:
    """Give a user another e-mail address."""
    new_email = EmailAddress(command.new_email)
    user = await uow.users.get(command.user_id)
    user.change_email(new_email)
    await uow.commit()


async def add_coupon_batch(command: commands.AddCouponBatch, uow: UnitOfWork) -> None:
    """Add a coupon batch, once: a repetition with the same quantity changes nothing."""
    reference, quantity = BatchReference(command.reference), Quantity(command.quantity)
    batch = await uow.coupon_batches.find(reference)
    if batch is None:
        uow.coupon_batches.add(CouponBatch.add(reference, quantity))
    else:
        batch.confirm_addition(quantity)
    await uow.commit()


async def send_welcome_email(
    event: events.UserRegistered, notifications: Notifications, idempotency_key: IdempotencyKey
) -> None:
    """Greet the new user."""
    await notifications.send(emails.welcome(event), idempotency_key=idempotency_key)


async def log_registration(event: events.UserRegistered, uow: UnitOfWork) -> None:
    """Write the registration log."""
    await uow.registration_log.append(event.user_id, event.email)
    await uow.commit()


async def allocate_welcome_coupon(
    event: events.UserRegistered,
    uow: UnitOfWork,
    new_token: Callable[[], str],
    now: Callable[[], datetime],
) -> None:
    """Give the new user a coupon, if one is left."""
    batch = await uow.coupon_batches.next_available()
    batch.allocate(event.user_id, token=new_token(), today=now().date())
    await uow.commit()


async def refresh_user_view(
    event: events.UserRegistered | events.EmailChanged | events.CouponAllocated, uow: UnitOfWork
) -> None:
    """Keep the read model up to date."""
    await uow.user_view.refresh(event.user_id)
    await uow.commit()


async def send_coupon_email(
    event: events.CouponAllocated,
    reading: Reading,
    notifications: Notifications,
    idempotency_key: IdempotencyKey,
) -> None:
    """Send the coupon to the address the user has now."""
    async with reading() as stored:
        user = await stored.users.get(event.user_id)
    email = emails.coupon(event, name=str(user.name), recipient=str(user.email))
    await notifications.send(email, idempotency_key=idempotency_key)


async def send_change_notice(
    event: events.EmailChanged, notifications: Notifications, idempotency_key: IdempotencyKey
) -> None:
    """Warn the old address."""
    await notifications.send(emails.change_notice(event), idempotency_key=idempotency_key)


async def notify_marketing(
    event: events.CouponsRanOut,
    notifications: Notifications,
    marketing_email: str,
    idempotency_key: IdempotencyKey,
) -> None:
    """Ask marketing for more coupons."""
    email = emails.coupons_ran_out(event, recipient=marketing_email)
    await notifications.send(email, idempotency_key=idempotency_key)


async def publish_event(event: events.Event, envelope: Envelope, publisher: Publisher) -> None:
    """Tell the outside world. `publishing.py` makes a handler of this for each `publisher`."""
    await publisher.publish(envelope)


COMMAND_HANDLERS: dict[type[commands.Command], Handler] = {
    commands.RegisterUser: register_user,
    commands.ChangeEmail: change_email,
    commands.AddCouponBatch: add_coupon_batch,
}

EVENT_HANDLERS: dict[type[events.Event], list[Handler]] = {
    events.UserRegistered: [
        send_welcome_email,
        log_registration,
        allocate_welcome_coupon,
        refresh_user_view,
        publish_event,
    ],
    events.EmailChanged: [send_change_notice, refresh_user_view, publish_event],
    # a coupon's code is money: not public
    events.CouponAllocated: [send_coupon_email, refresh_user_view],
    events.OutOfCoupons: [publish_event],
    events.CouponsRanOut: [notify_marketing],
}
"""What handles what. An event with `publish_event` is public: it has one for each broker."""

RENAMED_HANDLERS: dict[str, str] = {}
"""Old handler name → new one: for deliveries stored before a handler was renamed."""
