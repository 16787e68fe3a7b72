"""The scarce thing, wanted by many at once: two processes, and each command more than once."""

import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import pytest
from aftercommit import Application, testing
from aftercommit.claims import Report

from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import Command
from allocation.domain.coupons import CouponIsExpired
from allocation.domain.events import CouponExpired, CouponRedeemed, UserRegistered
from allocation.domain.users import EmailAlreadyRegistered
from allocation.entrypoints.app import APP
from tests.builders import a_batch, a_redemption, a_registration, an_import
from tests.email_senders import RecordingEmailSender
from tests.looking import count, coupons_left, types, users

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

Reports = list[Report]


@pytest.fixture
async def processes(
    each_app: Application, each_settings: Settings, emails: RecordingEmailSender
) -> AsyncIterator[list[Application]]:
    """Two applications on one database."""
    async with bootstrap(APP, each_settings, notifications=emails) as other:
        yield [each_app, other]


async def at_once(*calls: Coroutine[Any, Any, Report], refusal: type[Exception]) -> Reports:
    """Run the calls concurrently, and return the reports of those that were not refused."""
    reports: Reports = []

    async def run(call: Coroutine[Any, Any, Report]) -> None:
        with suppress(refusal):
            reports.append(await call)

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(run, call)
    assert [failure for report in reports for failure in report.failures] == []
    return reports


@pytest.mark.parametrize("seed", range(3))
async def test_never_one_coupon_too_many_and_never_two_for_one_user(
    processes: list[Application], emails: RecordingEmailSender, seed: int
) -> None:
    """The rule the package is named for: eight users, each registered twice, and five coupons."""
    first, _ = processes
    registrations = [a_registration(email=f"user{n}@example.com") for n in range(8)]
    for reference, quantity in (("A", 3), ("B", 2)):
        await first.bus.handle(a_batch(reference=reference, quantity=quantity))
    calls = [app.bus.handle(each) for app in processes for each in registrations]
    random.Random(seed).shuffle(calls)

    await at_once(*calls, refusal=EmailAlreadyRegistered)

    listed = await users(first)
    codes = [user.coupon_code for user in listed.values() if user.coupon_code]
    assert (len(listed), len({*codes}), await count(first, orm.coupons)) == (8, 5, 5)
    assert await coupons_left(first) == {"A": 0, "B": 0}
    assert await count(first, orm.registration_log) == 8
    subjects = [email.subject for email in emails.sent]
    assert (subjects.count("Welcome"), subjects.count("Your welcome coupon")) == (8, 5)
    assert 1 <= subjects.count("Out of welcome coupons") <= 2  # once a batch


async def test_a_coupon_is_redeemed_or_expires_and_no_place_is_lost(
    processes: list[Application],
) -> None:
    """However redeeming, expiring, giving back and allocating come between each other."""
    first, second = processes
    await first.bus.handle(a_batch(quantity=6))
    for n in range(6):
        await first.bus.handle(a_registration(email=f"user{n}@example.com"))
    codes = [str(user.coupon_code) for user in (await users(first)).values()]
    await testing.let_time_pass(first, days=30)

    reports = await at_once(
        testing.deliver_due(first),
        *(
            app.bus.handle(a_redemption(code))
            for app, code in zip(processes * 3, codes, strict=True)
        ),
        *(second.bus.handle(a_registration(email=f"new{n}@example.com")) for n in range(4)),
        testing.deliver_due(second),
        refusal=CouponIsExpired,
    )

    events = [envelope.event for report in reports for envelope in report.events]
    ends = [e.user_id for e in events if isinstance(e, CouponRedeemed | CouponExpired)]
    states = [user.coupon_state for user in (await users(first)).values()]
    assert len(ends) == len({*ends}) == 6
    taken = states.count("redeemed") + states.count("allocated")
    assert states.count("redeemed") + states.count("expired") == 6
    assert await coupons_left(first) == {"WELCOME": 6 - taken}


async def test_one_address_registered_twice_at_once_gives_one_user_and_one_refusal(
    processes: list[Application],
) -> None:
    """Whatever the case of the letters."""
    addresses = ["ivan@example.com", "Ivan@Example.com"]
    calls = [
        app.bus.handle(a_registration(email=email))
        for app, email in zip(processes, addresses, strict=True)
    ]

    [report] = await at_once(*calls, refusal=EmailAlreadyRegistered)

    assert UserRegistered in types(report.events)
    assert len(await users(processes[0])) == 1


async def test_a_registration_during_an_import_costs_no_other_row(
    processes: list[Application],
) -> None:
    """A violated constraint names no row: the import reads again who is known."""
    first, second = processes
    emails = [f"user{n}@example.com" for n in range(20)]
    ascending, descending = (
        an_import(*(("Иван", email) for email in order)) for order in (emails, emails[::-1])
    )
    commands: list[tuple[Application, Command]] = [(first, ascending), (second, descending)]
    commands += [(second, a_registration(email=email)) for email in emails[::5]]

    reports = await at_once(
        *(app.bus.handle(command) for app, command in commands), refusal=EmailAlreadyRegistered
    )

    events = [envelope.event for report in reports for envelope in report.events]
    assert len([event for event in events if isinstance(event, UserRegistered)]) == len(emails)
    assert {*await users(first)} == {*emails}
