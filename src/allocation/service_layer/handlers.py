"""The handlers, one function a use case, and the table that says what handles what.

The names of its parameters say what a handler needs, and so decide what it is promised:

- With `uow`, it changes the database, exactly once in effect. The bus commits after it returns.
- With a port (`notifications`), it has an external effect, at least once, and each time with the
  same `idempotency_key`. It reads the database by a query (`find_contact`). To store the reply of
  the other system, it returns a command.

A handler with both is refused at start, since a failure between the change and the effect would
lose one or repeat the other. Let a handler with `uow` record an event, and another one handle it.
"""

from collections.abc import Callable
from contextlib import suppress

from aftercommit import PUBLISH, Handlers, IdempotencyKey, Later, Ordered, on

from allocation.domain import commands, events
from allocation.domain.coupons import BatchReference, CouponBatch, CouponCode
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName
from allocation.service_layer import emails
from allocation.service_layer.ports import (
    EmailSender,
    FindContact,
    FindCouponHolder,
    NoSuchAddress,
)
from allocation.service_layer.unit_of_work import UnitOfWork


async def register_user(command: commands.RegisterUser, uow: UnitOfWork) -> None:
    """Register a user, once. If the user exists with the same data, nothing changes."""
    name, email = PersonName(command.name), EmailAddress(command.email)
    user = await uow.users.find(command.user_id)
    if user is None:
        uow.users.add(User.register(command.user_id, name, email))
    else:
        user.ensure_same_registration(name, email)


async def import_users(command: commands.ImportUsers, uow: UnitOfWork) -> None:
    """Register all users of a batch, or none. Those who exist with the same name do not change."""
    listed = [(row.user_id, PersonName(row.name), EmailAddress(row.email)) for row in command.users]
    listed.sort(key=lambda row: row[-1].key)  # the same order in all imports, to avoid deadlocks
    users = {**await uow.users.find_by_email([email for *_, email in listed])}
    for user_id, name, email in listed:
        if email in users:
            users[email].ensure_same_registration(name, email)
        else:
            users[email] = User.register(user_id, name, email)
            uow.users.add(users[email])


async def change_email(command: commands.ChangeEmail, uow: UnitOfWork) -> None:
    """Give a user another e-mail address."""
    new_email = EmailAddress(command.new_email)
    user = await uow.users.get(command.user_id)
    user.change_email(new_email)


async def record_bounce(command: commands.RecordBounce, uow: UnitOfWork) -> None:
    """Mark the address of a user as undeliverable."""
    user = await uow.users.get(command.user_id)
    user.record_bounce(EmailAddress(command.email))


async def add_coupon_batch(command: commands.AddCouponBatch, uow: UnitOfWork) -> None:
    """Add a coupon batch, once: a repetition with the same quantity changes nothing."""
    reference = BatchReference(command.reference)
    batch = await uow.coupon_batches.find(reference)
    if batch is None:
        uow.coupon_batches.add(CouponBatch(reference, command.quantity))
    else:
        batch.ensure_same_quantity(command.quantity)


async def redeem_coupon(command: commands.RedeemCoupon, uow: UnitOfWork) -> None:
    """Redeem a coupon, once: repeating the same redemption changes nothing."""
    coupon = await uow.coupons.get(CouponCode(command.code))
    coupon.redeem(command.redemption_id)


async def send_welcome_email(
    event: events.UserRegistered, notifications: EmailSender, idempotency_key: IdempotencyKey
) -> commands.RecordBounce | None:
    """Greet the new user. If the address does not exist, return a command that stores this."""
    try:
        await notifications.send(emails.welcome(event), idempotency_key=idempotency_key)
    except NoSuchAddress:
        return commands.RecordBounce(user_id=event.user_id, email=event.email)
    return None


async def log_registration(event: events.UserRegistered, uow: UnitOfWork) -> None:
    """Write the registration log."""
    await uow.registration_log.append(event.user_id, event.email)


async def allocate_welcome_coupon(
    event: events.UserRegistered, uow: UnitOfWork, new_token: Callable[[], str]
) -> None:
    """Give the new user a coupon, if one is left."""
    batch = await uow.coupon_batches.next_available()
    if batch is None:
        uow.record(events.CouponDenied(user_id=event.user_id), subject=event.user_id)
    else:
        uow.coupons.add(batch.allocate(event.user_id, token=new_token()))


async def refresh_user_view(
    event: events.UserRegistered
    | events.EmailChanged
    | events.EmailBounced
    | events.CouponAllocated
    | events.CouponRedeemed
    | events.CouponExpired,
    uow: UnitOfWork,
) -> None:
    """Keep the read model up to date."""
    await uow.user_view.refresh(event.user_id)


async def send_coupon_email(
    event: events.CouponAllocated,
    find_contact: FindContact,
    notifications: EmailSender,
    idempotency_key: IdempotencyKey,
) -> None:
    """Send the coupon to the address the user has now."""
    if recipient := await find_contact(event.user_id):
        email = emails.coupon(event, recipient=recipient)
        await notifications.send(email, idempotency_key=idempotency_key)


async def send_coupon_reminder(
    event: events.CouponAllocated,
    find_coupon_holder: FindCouponHolder,
    notifications: EmailSender,
    idempotency_key: IdempotencyKey,
) -> None:
    """Remind the user of the coupon, if it can still be redeemed."""
    if recipient := await find_coupon_holder(event.code):
        email = emails.coupon_reminder(event, recipient=recipient)
        await notifications.send(email, idempotency_key=idempotency_key)


async def expire_coupon(event: events.CouponAllocated, uow: UnitOfWork) -> None:
    """Let the coupon expire, unless it was redeemed."""
    coupon = await uow.coupons.get(CouponCode(event.code))
    coupon.expire()


async def give_coupon_back(event: events.CouponExpired, uow: UnitOfWork) -> None:
    """Give an expired coupon back to its batch, for another user."""
    batch = await uow.coupon_batches.get(BatchReference(event.batch_reference))
    batch.give_back()


async def send_change_notice(
    event: events.EmailChanged, notifications: EmailSender, idempotency_key: IdempotencyKey
) -> None:
    """Warn the old address, if it exists."""
    with suppress(NoSuchAddress):
        await notifications.send(emails.change_notice(event), idempotency_key=idempotency_key)


async def notify_marketing(
    event: events.CouponBatchExhausted,
    notifications: EmailSender,
    marketing_email: str,
    idempotency_key: IdempotencyKey,
) -> None:
    """Ask marketing for more coupons."""
    email = emails.coupon_batch_exhausted(event, recipient=marketing_email)
    await notifications.send(email, idempotency_key=idempotency_key)


HANDLERS: Handlers[commands.Command, events.Event] = Handlers(
    commands=[
        on(commands.RegisterUser, register_user),
        on(commands.ImportUsers, import_users),
        on(commands.ChangeEmail, change_email),
        on(commands.RecordBounce, record_bounce),
        on(commands.AddCouponBatch, add_coupon_batch),
        on(commands.RedeemCoupon, redeem_coupon),
    ],
    events=[
        on(
            events.UserRegistered,
            send_welcome_email,
            log_registration,
            allocate_welcome_coupon,
            refresh_user_view,
            Ordered(PUBLISH),
        ),
        on(events.EmailChanged, send_change_notice, refresh_user_view, Ordered(PUBLISH)),
        on(events.EmailBounced, refresh_user_view, Ordered(PUBLISH)),
        # a coupon's code is money: not public
        on(
            events.CouponAllocated,
            send_coupon_email,
            refresh_user_view,
            Later(send_coupon_reminder, after=lambda settings: settings.coupon_reminder_seconds),
            Later(expire_coupon, after=lambda settings: settings.coupon_expiry_seconds),
        ),
        on(events.CouponRedeemed, refresh_user_view, Ordered(PUBLISH)),
        on(events.CouponExpired, give_coupon_back, refresh_user_view),
        on(events.CouponDenied, Ordered(PUBLISH)),
        on(events.CouponBatchExhausted, notify_marketing),
    ],
    projections=[refresh_user_view],
)
"""The handlers of each message. An event with `PUBLISH` is public: it is sent to each broker.

Published events are ordered, because other services rely on their order: all events of one user
arrive in the order of their commits. No other handler needs an order: `refresh_user_view` copies
the stored state, whichever event it handles.
"""
