"""The use cases, through the bus: send a command, look at the outcome."""

from collections import Counter
from dataclasses import replace
from uuid import uuid4

import anyio
import pytest

from allocation.domain.commands import ChangeEmail
from allocation.domain.exceptions import (
    CouponAlreadyAllocated,
    CouponBatchAlreadyAdded,
    EmailAlreadyRegistered,
    InvalidValue,
    UserAlreadyRegistered,
)
from allocation.service_layer.envelopes import EventId
from tests.builders import HANDLER_NAMES, FakeApplication, a_batch, a_registration, a_user_id
from tests.fakes import StoredDelivery

pytestmark = pytest.mark.anyio


@pytest.fixture
def application() -> FakeApplication:
    return FakeApplication()


async def test_a_registration_does_everything_the_story_tells(
    application: FakeApplication,
) -> None:
    """The main job: welcome e-mail, log entry, coupon and read model."""
    await application.bus.handle(a_batch(quantity=1))
    registration = a_registration(name="Иван", email="ivan@example.com")

    report = await application.bus.handle(registration)

    assert report.failures == ()
    assert application.notifications.subjects_to("ivan@example.com") == [
        "Welcome, Иван",
        "Your welcome coupon",
    ]
    assert application.database.registration_log == [(registration.user_id, "ivan@example.com")]
    coupon = application.database.coupons[registration.user_id]
    assert coupon.startswith("WELCOME-")
    row = application.database.user_view[registration.user_id]
    assert (row.name, row.email, row.coupon) == ("Иван", "ivan@example.com", coupon)
    assert application.database.deliveries == {}


async def test_repeating_a_registration_changes_nothing(application: FakeApplication) -> None:
    """A caller that saw no answer can safely ask again."""
    registration = a_registration()
    await application.bus.handle(registration)
    sent = list(application.notifications.sent)

    report = await application.bus.handle(registration)

    assert report.events == ()
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


async def test_two_registrations_of_one_address_at_once_give_one_user(
    application: FakeApplication,
) -> None:
    """One user, one refusal, whatever the case and the timing."""
    refused = []

    async def register(email: str) -> None:
        try:
            await application.bus.handle(a_registration(email=email))
        except EmailAlreadyRegistered as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(register, "ivan@example.com")
        group.start_soon(register, "IVAN@EXAMPLE.COM")

    assert len(application.database.users) == 1
    assert len(refused) == 1
    assert len(application.database.registration_log) == 1


async def test_without_coupons_marketing_is_told(application: FakeApplication) -> None:
    """The user is registered all the same."""
    await application.bus.handle(a_batch(quantity=1))
    await application.bus.handle(a_registration(email="first@example.com"))

    report = await application.bus.handle(a_registration(email="second@example.com"))

    assert report.failures == ()
    assert len(application.database.coupons) == 1
    assert application.notifications.subjects_to("marketing@example.com") == [
        "Out of welcome coupons"
    ]
    assert application.notifications.subjects_to("second@example.com") == ["Welcome, Иван"]


async def test_a_second_coupon_for_one_user_is_refused_for_good(
    application: FakeApplication,
) -> None:
    """An event that comes twice, by whatever mistake, costs nothing and is nobody's to retry."""
    await application.bus.handle(a_batch(quantity=7))
    report = await application.bus.handle(a_registration())
    copy = replace(report.events[0], id=EventId(uuid4()))
    application.database.events[copy.id] = (0.0, copy)
    key = (copy.id, "allocate_welcome_coupon")
    application.database.deliveries[key] = StoredDelivery(attempts=0, token=1, due_at=0.0)

    again = await application.bus.deliver(await application.outbox.claim(1, HANDLER_NAMES))

    (failure,) = again.failures
    assert (type(failure.error), failure.retry_in) == (CouponAlreadyAllocated, None)
    assert [batch.remaining for batch in application.database.batches.values()] == [6]


async def test_many_registrations_at_once_never_exceed_the_batch(
    application: FakeApplication,
) -> None:
    """Never one coupon too many, never two for one user."""
    await application.bus.handle(a_batch(quantity=7))

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(application.bus.handle, a_registration(email=f"user{n}@example.com"))

    assert len(application.database.coupons) == 7
    subjects = Counter(email.subject for _, email in application.notifications.sent)
    assert (subjects["Your welcome coupon"], subjects["Out of welcome coupons"]) == (7, 1)


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


async def test_changing_to_the_same_address_changes_nothing(
    application: FakeApplication,
) -> None:
    """No event, no e-mail: nothing has happened."""
    registration = a_registration(email="ivan@example.com")
    await application.bus.handle(registration)

    report = await application.bus.handle(
        ChangeEmail(user_id=registration.user_id, new_email="ivan@example.com")
    )

    assert report.events == ()


async def test_repeating_a_batch_adds_no_coupons(application: FakeApplication) -> None:
    """A repeated command must not print money."""
    await application.bus.handle(a_batch(quantity=5))

    await application.bus.handle(a_batch(quantity=5))
    with pytest.raises(CouponBatchAlreadyAdded, match="quantity 5"):
        await application.bus.handle(a_batch(quantity=6))

    assert [batch.remaining for batch in application.database.batches.values()] == [5]


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
    application.database.clock += application.policy.retry_base
    await application.bus.deliver(await application.outbox.claim(10, HANDLER_NAMES))

    assert application.notifications.subjects_to("new@example.com") == ["Your welcome coupon"]
