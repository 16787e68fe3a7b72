"""The use cases, through the bus: send a command, look at the outcome."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from aftercommit.envelopes import EventId
from aftercommit.handler_table import Handler

from allocation.domain.commands import ChangeEmail, RecordBounce
from allocation.domain.coupons import (
    CouponAlreadyAllocated,
    CouponAlreadyRedeemed,
    CouponBatchAlreadyAdded,
    CouponIsExpired,
    CouponNotFound,
)
from allocation.domain.events import (
    CouponAllocated,
    EmailBounced,
    EmailChanged,
    UserRegistered,
)
from allocation.domain.exceptions import InvalidValue
from allocation.domain.users import UserAlreadyRegistered
from allocation.service_layer.handlers import expire_coupon, send_coupon_reminder
from allocation.service_layer.user_mailer import AddressUndeliverable
from tests.builders import (
    HANDLER_NAMES,
    HANDLERS,
    FakeApplication,
    a_batch,
    a_redemption,
    a_registration,
    a_user_id,
)
from tests.fakes import StoredDelivery, fake_is_undeliverable

pytestmark = pytest.mark.anyio


@pytest.fixture
def application() -> FakeApplication:
    return FakeApplication()


async def test_a_registration_does_everything_the_story_tells(
    application: FakeApplication,
) -> None:
    """The main job: welcome e-mail, log entry and read model."""
    registration = a_registration(name="Иван", email="ivan@example.com")

    report = await application.bus.handle(registration)

    assert report.failures == []
    assert application.notifications.subjects_to("ivan@example.com") == ["Welcome"]
    assert application.database.registration_log == [(registration.user_id, "ivan@example.com")]
    row = application.database.user_view[registration.user_id]
    assert (row.name, row.email) == ("Иван", "ivan@example.com")
    assert application.database.owed == {}


async def test_a_new_user_is_sent_a_coupon(application: FakeApplication) -> None:
    """And it is in the list of users."""
    await application.bus.handle(a_batch(quantity=1))
    registration = a_registration(email="ivan@example.com")

    await application.bus.handle(registration)

    subjects = application.notifications.subjects_to("ivan@example.com")
    assert subjects == ["Welcome", "Your welcome coupon"]
    coupon = application.database.coupons[registration.user_id].code.value
    assert coupon.startswith("WELCOME-")
    assert application.database.user_view[registration.user_id].coupon_code == coupon


async def test_repeating_a_registration_changes_nothing(application: FakeApplication) -> None:
    """A caller that saw no answer can safely ask again."""
    registration = a_registration()
    await application.bus.handle(registration)
    sent = list(application.notifications.sent)

    report = await application.bus.handle(registration)

    assert report.events == []
    assert application.notifications.sent == sent


async def test_a_registration_with_a_known_id_and_other_data_is_refused(
    application: FakeApplication,
) -> None:
    """It is somebody else, or a mistake."""
    registration = a_registration(name="Иван")
    await application.bus.handle(registration)

    with pytest.raises(UserAlreadyRegistered, match=str(registration.user_id)):
        await application.bus.handle(a_registration(name="Мария", user_id=registration.user_id))


async def test_a_malformed_registration_is_refused(application: FakeApplication) -> None:
    """No entrypoint can get around the rules of the domain."""
    with pytest.raises(InvalidValue):
        await application.bus.handle(a_registration(email="ivan@example.com\nBcc: all"))

    assert application.database.users == {}


async def test_without_coupons_marketing_is_told(application: FakeApplication) -> None:
    """The user is registered all the same."""
    await application.bus.handle(a_batch(quantity=1))
    await application.bus.handle(a_registration(email="first@example.com"))

    report = await application.bus.handle(a_registration(email="second@example.com"))

    assert report.failures == []
    assert len(application.database.coupons) == 1
    assert application.notifications.subjects_to("marketing@example.com") == [
        "Out of welcome coupons"
    ]
    assert application.notifications.subjects_to("second@example.com") == ["Welcome"]


async def test_a_second_coupon_for_one_user_is_refused_for_good(
    application: FakeApplication,
) -> None:
    """An event that comes twice, by whatever mistake, costs nothing and is nobody's to retry."""
    await application.bus.handle(a_batch(quantity=7))
    report = await application.bus.handle(a_registration())
    copy = replace(report.events[0], id=EventId(uuid4()))
    application.database.events[copy.id] = (0.0, copy)
    key = (copy.id, "allocate_welcome_coupon")
    application.database.deliveries[key] = StoredDelivery(attempts=0, token=1, available_at=0.0)

    again = await application.bus.run(await application.outbox.claim(1, HANDLER_NAMES))

    (failure,) = again.failures
    assert (type(failure.error), failure.retry_in) == (CouponAlreadyAllocated, None)
    assert [batch.remaining for batch in application.database.coupon_batches.values()] == [6]


async def test_a_changed_address_is_announced_to_the_old_one(
    application: FakeApplication,
) -> None:
    """Whoever lost the account must hear of it."""
    registration = a_registration(email="old@example.com")
    await application.bus.handle(registration)

    await application.bus.handle(
        ChangeEmail(user_id=registration.user_id, new_email="new@example.com")
    )

    assert "Your e-mail address was changed" in application.notifications.subjects_to(
        "old@example.com"
    )
    assert application.database.user_view[registration.user_id].email == "new@example.com"


async def test_repeating_a_batch_adds_no_coupons(application: FakeApplication) -> None:
    """A repeated command must not print money."""
    await application.bus.handle(a_batch(quantity=5))

    await application.bus.handle(a_batch(quantity=5))
    with pytest.raises(CouponBatchAlreadyAdded, match="quantity 5"):
        await application.bus.handle(a_batch(quantity=6))

    assert [batch.remaining for batch in application.database.coupon_batches.values()] == [5]


async def test_a_coupon_goes_to_the_address_the_user_has_by_then(
    application: FakeApplication,
) -> None:
    """A retry may come after the user has moved."""
    await application.bus.handle(a_batch())
    registration = a_registration(email="old@example.com", user_id=a_user_id())
    application.notifications.failures["old@example.com"] = OSError("mailbox full")
    report = await application.bus.handle(registration)
    await application.bus.handle(
        ChangeEmail(user_id=registration.user_id, new_email="new@example.com")
    )

    assert report.failures[-1].delivery.handler == "send_coupon_email"
    application.database.clock += application.policy.retry_initial_seconds
    await application.bus.run(await application.outbox.claim(10, HANDLER_NAMES))

    assert application.notifications.subjects_to("new@example.com") == ["Your welcome coupon"]


def an_application_that(handler: Handler[Any, Any]) -> FakeApplication:
    """Return one in which this handler follows the allocation of a coupon, and nothing else."""
    return FakeApplication(
        event_handlers={**HANDLERS, CouponAllocated: [handler]}, new_token=lambda: "1"
    )


async def test_a_coupon_is_redeemed_once(application: FakeApplication) -> None:
    """The list says so, and repeating the same redemption is no other one."""
    application.new_token = lambda: "1"
    application.wire()
    registration, redemption = a_registration(), a_redemption("WELCOME-1")
    for command in (a_batch(), registration, redemption):
        await application.bus.handle(command)

    again = await application.bus.handle(redemption)
    with pytest.raises(CouponAlreadyRedeemed):
        await application.bus.handle(a_redemption("WELCOME-1"))

    assert again.events == []
    assert application.database.user_view[registration.user_id].coupon_state == "redeemed"


async def test_a_code_that_nobody_has_is_refused(application: FakeApplication) -> None:
    """It is mistyped, or a guess."""
    with pytest.raises(CouponNotFound, match="^there is no coupon with this code$"):
        await application.bus.handle(a_redemption("WELCOME-1"))


async def test_an_expired_coupon_makes_room_for_somebody_else() -> None:
    """It goes back to its batch, and can no longer be redeemed."""
    application, registration = an_application_that(expire_coupon), a_registration()
    await application.bus.handle(a_batch(quantity=1))

    report = await application.bus.handle(registration)

    assert report.failures == []
    assert application.database.user_view[registration.user_id].coupon_state == "expired"
    assert [batch.remaining for batch in application.database.coupon_batches.values()] == [1]
    with pytest.raises(CouponIsExpired):
        await application.bus.handle(a_redemption("WELCOME-1"))


async def test_users_are_reminded_of_a_coupon_they_can_redeem() -> None:
    """At the address they have then."""
    application = an_application_that(send_coupon_reminder)
    await application.bus.handle(a_batch())

    await application.bus.handle(a_registration(email="ivan@example.com"))

    assert application.notifications.subjects_to("ivan@example.com") == [
        "Welcome",
        "Your welcome coupon expires soon",
    ]


async def test_nobody_is_reminded_of_a_coupon_that_is_redeemed() -> None:
    """When the reminder is due, the world is another one than when it was planned."""
    application = an_application_that(send_coupon_reminder)
    await application.bus.handle(a_batch())
    application.notifications.failures["ivan@example.com"] = OSError("mailbox full")
    await application.bus.handle(a_registration(email="ivan@example.com"))
    await application.bus.handle(a_redemption("WELCOME-1"))

    application.notifications.failures.clear()
    application.database.clock += application.policy.retry_initial_seconds
    claims = await application.outbox.claim(10, ["send_coupon_reminder"])
    report = await application.bus.run(claims)

    assert (len(claims), report.failures, application.notifications.sent) == (1, [], [])


async def test_an_address_that_does_not_exist_is_recorded_and_not_written_to_again(
    application: FakeApplication,
) -> None:
    """The server's answer is stored with the end of the delivery; the next one asks first."""
    bounces = AddressUndeliverable("ivan@example.com")
    application.notifications.failures["ivan@example.com"] = bounces
    registration = a_registration(email="ivan@example.com")
    report = await application.bus.handle(registration)
    assert report.failures == []
    assert {UserRegistered, EmailBounced} <= {type(each.event) for each in report.events}
    assert application.database.user_view[registration.user_id].email_undeliverable
    [command] = [each for each in application.database.commands if each.settles]
    assert command.message == RecordBounce(user_id=registration.user_id, email="ivan@example.com")

    application.notifications.failures.clear()
    copy = replace(report.events[0], id=EventId(uuid4()))
    application.database.events[copy.id] = (0.0, copy)
    key = (copy.id, "send_welcome_email")
    application.database.deliveries[key] = StoredDelivery(attempts=0, token=1, available_at=0.0)
    again = await application.bus.run(await application.outbox.claim(1, HANDLER_NAMES))

    assert (again.events, again.failures) == ([], [])
    assert application.notifications.sent == []
    assert application.database.owed == {}


async def test_nobody_is_written_to_where_no_server_can_be(application: FakeApplication) -> None:
    """Nobody has to be asked: an erased user has such an address, and so may a stranger."""
    registration = a_registration(email="ivan@erased.INVALID")
    report = await application.bus.handle(registration)

    assert report.failures == []
    assert application.notifications.sent == []
    assert application.database.user_view[registration.user_id].email_undeliverable


async def test_another_address_is_written_to(application: FakeApplication) -> None:
    """The change clears the mark; a notice to the old address, which bounces, sets none."""
    bounces = AddressUndeliverable("old@example.com")
    application.notifications.failures["old@example.com"] = bounces
    registration = a_registration(email="old@example.com")
    await application.bus.handle(registration)

    change = ChangeEmail(user_id=registration.user_id, new_email="new@example.com")
    report = await application.bus.handle(change)

    assert report.failures == []
    assert [type(each.event) for each in report.events] == [EmailChanged]
    assert not application.database.user_view[registration.user_id].email_undeliverable
    assert not await fake_is_undeliverable(application.database, "old@example.com")
