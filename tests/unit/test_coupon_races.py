"""The scarce thing, under random interleavings: drawn by Hypothesis, on the fakes."""

from collections import Counter
from functools import partial

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.domain.commands import AddCouponBatch, RegisterUser
from tests.builders import FakeApplication, a_registration

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
    remaining = [batch.remaining for batch in application.database.batches.values()]
    assert sum(remaining) == sum(quantities) - given_away
    subjects = Counter(email.subject for _, email in application.notifications.sent)
    assert subjects["Your welcome coupon"] == given_away
    ran_out = bool(quantities) and given_away < len(users)
    assert 0 <= subjects["Out of welcome coupons"] - ran_out < max(len(quantities), 1)
    assert application.database.deliveries == {}
    in_view = {user: row.coupon for user, row in application.database.user_view.items()}
    assert in_view == {
        user.user_id: application.database.coupons.get(user.user_id) for user in users
    }
