"""The scarce thing, under random interleavings: drawn by Hypothesis, on the fakes."""

from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import count

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.domain.commands import AddCouponBatch, Command, RegisterUser
from allocation.domain.coupons import CouponIsExpired, CouponNotFound
from allocation.domain.events import CouponAllocated, CouponExpired, CouponRedeemed
from allocation.service_layer.handlers import expire_coupon
from tests.builders import (
    HANDLERS,
    EventHandlers,
    FakeApplication,
    a_batch,
    a_redemption,
    a_registration,
)

QUANTITIES = st.lists(st.integers(1, 4), max_size=3)
COPIES = st.lists(st.integers(1, 3), min_size=1, max_size=8)  # of each registration
SCHEDULES = st.lists(st.integers(1, 5), max_size=200)


async def run_at_once(application: FakeApplication, commands: list[RegisterUser]) -> None:
    async with anyio.create_task_group() as group:
        for command in commands:
            group.start_soon(application.bus.handle, command)


@given(quantities=QUANTITIES, copies=COPIES, schedule=SCHEDULES)
@settings(max_examples=60, deadline=None)
def test_never_one_coupon_too_many_and_never_two_for_one_user(
    quantities: list[int], copies: list[int], schedule: list[int]
) -> None:
    """The rule the package is named for, whatever runs at the same time and however often."""
    application = FakeApplication()
    application.database.schedule = iter(schedule)
    users = [a_registration(email=f"user{n}@example.com") for n in range(len(copies))]
    commands = [user for user, copy in zip(users, copies, strict=True) for _ in range(copy)]

    for number, quantity in enumerate(quantities):
        command = AddCouponBatch(reference=f"BATCH-{number}", quantity=quantity)
        anyio.run(application.bus.handle, command)
    anyio.run(partial(run_at_once, application, commands))

    given_away = min(len(users), sum(quantities))
    assert len(application.database.coupons) == given_away
    remaining = [batch.remaining for batch in application.database.coupon_batches.values()]
    assert sum(remaining) == sum(quantities) - given_away
    subjects = Counter(email.subject for _, email in application.notifications.sent)
    assert subjects["Your welcome coupon"] == given_away
    ran_out = bool(quantities) and given_away < len(users)
    assert 0 <= subjects["Out of welcome coupons"] - ran_out < max(len(quantities), 1)
    assert application.database.owed == {}
    in_view = {user: row.coupon_code for user, row in application.database.user_view.items()}
    codes = {coupon.user_id: coupon.code.value for coupon in application.database.coupons.values()}
    assert in_view == {user.user_id: codes.get(user.user_id) for user in users}


@given(quantity=st.integers(1, 4), users=st.integers(1, 6), schedule=SCHEDULES)
@settings(max_examples=60, deadline=None)
def test_a_coupon_is_redeemed_or_expires_and_no_place_is_lost(
    quantity: int, users: int, schedule: list[int]
) -> None:
    """However redeeming, expiring, giving back and allocating come between each other."""
    tokens = count(1)
    handlers: EventHandlers = {**HANDLERS, CouponAllocated: [expire_coupon]}
    application = FakeApplication(event_handlers=handlers, new_token=lambda: str(next(tokens)))
    application.database.schedule = iter(schedule)
    registrations = [a_registration(email=f"user{n}@example.com") for n in range(users)]
    redemptions = [a_redemption(f"WELCOME-{n + 1}") for n in range(users) for _ in range(2)]

    async def handle(command: Command) -> None:
        with suppress(CouponNotFound, CouponIsExpired):
            await application.bus.handle(command)

    async def handle_all() -> None:
        await application.bus.handle(a_batch(quantity=quantity))
        async with anyio.create_task_group() as group:
            for command in (*registrations, *redemptions):
                group.start_soon(handle, command)

    anyio.run(handle_all)

    happened = [envelope.event for _, envelope in application.database.events.values()]
    ends = [each.user_id for each in happened if isinstance(each, CouponRedeemed | CouponExpired)]
    states = Counter(coupon.state for coupon in application.database.coupons.values())
    [batch] = application.database.coupon_batches.values()
    assert sorted(ends) == sorted(application.database.coupons)
    assert states["allocated"] == 0
    assert batch.remaining == quantity - states["redeemed"]
    assert application.database.deliveries == {}
