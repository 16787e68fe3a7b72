"""The use cases: send a command to the bus, and look at all that came out of it.

The bus and the database are the real ones; only the e-mails are not sent.
"""

from pathlib import Path

import pytest
from aftercommit import Application, testing
from aftercommit.extensions.smtp.exceptions import AddressUndeliverable

from allocation.adapters import orm
from allocation.domain import commands, events
from allocation.domain.coupons import (
    CouponAlreadyAllocated,
    CouponBatchAlreadyAdded,
    CouponIsExpired,
)
from allocation.domain.events import (
    CouponAllocated,
    CouponDenied,
    EmailBounced,
    EmailChanged,
    UserRegistered,
)
from allocation.domain.users import EmailAlreadyRegistered, UserAlreadyRegistered
from allocation.entrypoints.app import APP
from allocation.service_layer import handlers
from allocation.service_layer.handlers import expire_coupon, send_coupon_reminder
from tests.builders import a_batch, a_change, a_redemption, a_registration
from tests.email_senders import RecordingEmailSender
from tests.looking import code_of, count, coupons_left, rows, types, users

pytestmark = pytest.mark.anyio

Emails = RecordingEmailSender
GOLDEN = Path(__file__).parents[1] / "golden"
WELCOME, COUPON = "Welcome", "Your welcome coupon"
REMINDER, CHANGED = "Your welcome coupon expires soon", "Your e-mail address was changed"
EXHAUSTED = "Out of welcome coupons"


async def test_a_new_user_is_welcomed_logged_and_listed(app: Application, emails: Emails) -> None:
    """The main job. What has to happen later, is stored with it."""
    user = a_registration(name="Иван", email="ivan@example.com")

    report = await app.bus.handle(user)

    assert report.failures == []
    assert types(report.events) == {UserRegistered, CouponDenied}  # there is no batch
    assert emails.subjects_to("ivan@example.com") == [WELCOME]
    log = orm.registration_log.select()
    assert [(row.user_id, row.email) for row in await rows(app, log)] == [
        (user.user_id, "ivan@example.com")
    ]
    listed = (await users(app))["ivan@example.com"]
    assert (listed.user_id, listed.name, listed.coupon_code) == (user.user_id, "Иван", None)


async def test_a_new_user_is_sent_a_coupon(app: Application, emails: Emails) -> None:
    """And it is in the list of users."""
    await app.bus.handle(a_batch(quantity=1))

    await app.bus.handle(a_registration(email="ivan@example.com"))

    assert emails.subjects_to("ivan@example.com") == [WELCOME, COUPON]
    code = await code_of(app, "ivan@example.com")
    assert code.startswith("WELCOME-")
    [email] = [email for email in emails.sent if email.subject == COUPON]
    assert code in email.text


async def test_repeating_a_registration_changes_nothing(app: Application, emails: Emails) -> None:
    """A caller that saw no answer can safely ask again."""
    registration = a_registration()
    await app.bus.handle(registration)
    sent = list(emails.sent)

    report = await app.bus.handle(registration)

    assert report.events == []
    assert emails.sent == sent


async def test_a_registration_that_clashes_with_another_is_refused(app: Application) -> None:
    """One id for two people, or one address for two: somebody else, or a mistake."""
    ivan = a_registration(name="Иван", email="ivan@example.com")
    await app.bus.handle(ivan)

    with pytest.raises(UserAlreadyRegistered, match=str(ivan.user_id)):
        await app.bus.handle(a_registration(name="Мария", user_id=ivan.user_id))
    with pytest.raises(EmailAlreadyRegistered, match="IVAN"):
        await app.bus.handle(a_registration(email="IVAN@example.com"))

    assert [user.name for user in (await users(app)).values()] == ["Иван"]


async def test_without_coupons_marketing_is_notified(app: Application, emails: Emails) -> None:
    """Once, and the users are registered all the same."""
    await app.bus.handle(a_batch(quantity=1))

    for name in ("first", "second", "third"):
        report = await app.bus.handle(a_registration(email=f"{name}@example.com"))
        assert report.failures == []

    assert await count(app, orm.coupons) == 1
    assert emails.subjects_to("marketing@example.com") == [EXHAUSTED]
    assert emails.subjects_to("third@example.com") == [WELCOME]


async def test_an_event_that_comes_twice_costs_no_second_coupon(app: Application) -> None:
    """The repetition is refused for good, so nobody retries it."""
    await app.bus.handle(a_batch(quantity=7))
    await app.bus.handle(a_registration())

    await testing.replay(app, "allocate_welcome_coupon")
    report = await testing.deliver_due(app)

    [failure] = report.failures
    assert (type(failure.error), failure.retry_in) == (CouponAlreadyAllocated, None)
    assert await coupons_left(app) == {"WELCOME": 6}


async def test_repeating_a_batch_adds_no_coupons(app: Application) -> None:
    """A repeated command must not print money."""
    for command in (a_batch(quantity=5), a_registration(), a_batch(quantity=5)):
        await app.bus.handle(command)
    for quantity in (4, 6):
        with pytest.raises(CouponBatchAlreadyAdded, match="quantity 5"):
            await app.bus.handle(a_batch(quantity=quantity))

    assert await coupons_left(app) == {"WELCOME": 4}


async def test_a_changed_address_is_announced_to_the_old_one(
    app: Application, emails: Emails
) -> None:
    """An owner who has lost the account must hear of it."""
    user = a_registration(email="old@example.com")
    await app.bus.handle(user)

    await app.bus.handle(a_change(user, new_email="new@example.com"))

    assert emails.subjects_to("old@example.com") == [WELCOME, CHANGED]
    assert (await users(app)).keys() == {"new@example.com"}


async def test_a_coupon_goes_to_the_address_that_the_user_has_by_then(
    app: Application, emails: Emails
) -> None:
    """A retry may come after the user has moved."""
    await app.bus.handle(a_batch())
    user = a_registration(email="old@example.com")
    emails.errors["old@example.com"] = OSError("mailbox full")
    report = await app.bus.handle(user)
    assert {failure.delivery.handler for failure in report.failures} == {
        "send_welcome_email",
        "send_coupon_email",
    }

    await app.bus.handle(a_change(user, new_email="new@example.com"))
    await testing.let_time_pass(app, minutes=1)
    await testing.deliver_due(app)

    assert emails.subjects_to("new@example.com") == [COUPON]


async def test_users_are_reminded_of_their_coupon_before_it_expires(
    app: Application, emails: Emails
) -> None:
    """After 25 days, at the address they have then; it expires after 30 days."""
    user = a_registration(email="old@example.com")
    for command in (a_batch(quantity=1), user, a_change(user, new_email="new@example.com")):
        await app.bus.handle(command)
    code = await code_of(app, "new@example.com")

    await testing.let_time_pass(app, days=24.9)
    assert (await testing.deliver_due(app)).events == []
    assert emails.subjects_to("new@example.com") == []
    await testing.let_time_pass(app, days=0.2)
    await testing.deliver_due(app)
    assert emails.subjects_to("new@example.com") == [REMINDER]

    await testing.let_time_pass(app, days=5)
    await testing.deliver_due(app)

    assert (await users(app))["new@example.com"].coupon_state == "expired"
    with pytest.raises(CouponIsExpired):
        await app.bus.handle(a_redemption(code))


async def test_an_expired_coupon_makes_room_for_somebody_else(app: Application) -> None:
    """It goes back to its batch, once."""
    await app.bus.handle(a_batch(quantity=1))
    await app.bus.handle(a_registration(email="first@example.com"))
    await testing.let_time_pass(app, days=30)
    await testing.deliver_due(app)
    await testing.replay(app, "expire_coupon")
    assert (await testing.deliver_due(app)).events == []
    assert await coupons_left(app) == {"WELCOME": 1}

    await app.bus.handle(a_registration(email="second@example.com"))

    assert (await users(app))["second@example.com"].coupon_state == "allocated"


async def test_a_redeemed_coupon_is_neither_reminded_of_nor_expires(
    app: Application, emails: Emails
) -> None:
    """When both are due, the world is another one than when they were planned."""
    await app.bus.handle(a_batch(quantity=1))
    await app.bus.handle(a_registration(email="ivan@example.com"))
    await app.bus.handle(a_redemption(await code_of(app, "ivan@example.com")))

    await testing.let_time_pass(app, days=30)
    report = await testing.deliver_due(app)

    assert (report.failures, report.events) == ([], [])
    assert REMINDER not in emails.subjects_to("ivan@example.com")
    assert await coupons_left(app) == {"WELCOME": 0}
    assert (await users(app))["ivan@example.com"].coupon_state == "redeemed"


async def test_what_is_for_later_looks_at_the_state_when_it_runs(tmp_path: Path) -> None:
    """It was planned weeks before. Whatever is `Later` runs as things were, and after a change."""
    user, batch = a_registration(), a_batch(quantity=1)

    async def a_coupon_is_allocated(app: Application) -> None:
        for command in (batch, user):
            await app.bus.handle(command)

    async def it_is_redeemed(app: Application) -> None:
        await app.bus.handle(a_redemption(await code_of(app, user.email)))

    scenarios = dict.fromkeys(
        (send_coupon_reminder, expire_coupon), (a_coupon_is_allocated, it_is_redeemed)
    )
    await testing.check_delayed(APP, tmp_path, scenarios)


async def test_nothing_is_forgotten(app: Application) -> None:
    """An entry of a message or a handler, a column, a migration, an aggregate that is not added."""
    found = await testing.omissions(app, orm.mapping, handlers, commands, events)
    assert not found, "\n".join(found)


def test_no_handler_has_lost_its_name() -> None:
    """Deliveries that are stored would be for nobody."""
    testing.check_handler_names(APP, GOLDEN / "handler_names.txt")


async def test_an_address_that_does_not_exist_is_recorded_and_not_written_to_again(
    app: Application, emails: Emails
) -> None:
    """The server's reply is stored; the coupon that comes later is not sent there."""
    emails.errors["ivan@example.com"] = AddressUndeliverable()
    report = await app.bus.handle(a_registration(email="ivan@example.com"))
    assert report.failures == []
    assert {UserRegistered, EmailBounced} <= types(report.events)
    assert (await users(app))["ivan@example.com"].email_undeliverable

    emails.errors.clear()
    await app.bus.handle(a_batch())
    await testing.replay(app, "allocate_welcome_coupon")
    later = await testing.deliver_due(app)

    assert (types(later.events), later.failures, emails.sent) == ({CouponAllocated}, [], [])


async def test_no_email_is_sent_where_no_server_can_be(app: Application, emails: Emails) -> None:
    """An erased user has such an address, and so may a stranger: no server has to be asked."""
    report = await app.bus.handle(a_registration(email="ivan@erased.INVALID"))

    assert (report.failures, emails.keys) == ([], [])
    assert (await users(app))["ivan@erased.INVALID"].email_undeliverable


async def test_another_address_is_written_to(app: Application, emails: Emails) -> None:
    """The change clears the mark; a notice to the old address, which bounces, sets none."""
    emails.errors["old@example.com"] = AddressUndeliverable()
    user = a_registration(email="old@example.com")
    await app.bus.handle(user)

    report = await app.bus.handle(a_change(user, new_email="new@example.com"))

    assert report.failures == []
    assert types(report.events) == {EmailChanged}
    assert not (await users(app))["new@example.com"].email_undeliverable
