"""The handlers of users and coupons, called directly: what they change, and what they record.

Those that send e-mails: `test_email_handlers.py`.
What follows from a command, on the bus and a database: `tests/integration/test_use_cases.py`.
"""

from uuid import uuid4

import pytest

from allocation.domain.bases import Aggregate, InvalidValue
from allocation.domain.commands import ChangeEmail, ImportUsers, RecordBounce
from allocation.domain.coupons import (
    Coupon,
    CouponAlreadyRedeemed,
    CouponBatch,
    CouponBatchAlreadyAdded,
    CouponBatchIsFull,
    CouponBatchNotFound,
    CouponIsExpired,
    CouponNotFound,
)
from allocation.domain.events import (
    CouponAllocated,
    CouponBatchExhausted,
    CouponDenied,
    CouponExpired,
    CouponRedeemed,
    EmailBounced,
    EmailChanged,
    UserRegistered,
)
from allocation.domain.users import User, UserAlreadyRegistered, UserNotFound
from allocation.service_layer.handlers import (
    add_coupon_batch,
    allocate_welcome_coupon,
    change_email,
    expire_coupon,
    give_coupon_back,
    import_users,
    log_registration,
    record_bounce,
    redeem_coupon,
    refresh_user_view,
    register_user,
)
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import (
    a_batch,
    a_coupon,
    a_coupon_batch,
    a_redemption,
    a_registration,
    a_user,
    a_user_id,
)
from tests.unit.memory import MemoryUnitOfWork

pytestmark = pytest.mark.anyio


def a_uow(*stored: Aggregate) -> MemoryUnitOfWork:
    """Return a unit of work that finds these aggregates."""
    return MemoryUnitOfWork(*stored)


def registered() -> UserRegistered:
    return UserRegistered(user_id=a_user_id(), name="Иван", email="ivan@example.com")


def allocated(coupon: Coupon) -> CouponAllocated:
    code = coupon.code.value
    return CouponAllocated(user_id=coupon.user_id, batch_reference="WELCOME", code=code)


async def allocate(event: UserRegistered, uow: UnitOfWork) -> None:
    await allocate_welcome_coupon(event, uow, lambda: "x7")


async def test_a_user_is_registered() -> None:
    """The event says all that those who act on it need."""
    command = a_registration(name="Иван", email="ivan@example.com")

    await register_user(command, uow := a_uow())

    [user] = uow.store.seen
    assert isinstance(user, User)
    assert (user.id, str(user.name), str(user.email)) == (
        command.user_id,
        "Иван",
        "ivan@example.com",
    )
    assert uow.store.pull_events() == [
        UserRegistered(user_id=command.user_id, name="Иван", email="ivan@example.com")
    ]


async def test_a_repeated_registration_records_nothing() -> None:
    """A caller that saw no answer can safely ask again."""
    user = a_user(name="Иван", email="ivan@example.com")
    again = a_registration(user_id=user.id, name="Иван", email="IVAN@example.com")

    await register_user(again, uow := a_uow(user))

    assert (uow.store.seen, uow.store.pull_events()) == ([user], [])


async def test_an_id_of_somebody_else_registers_nobody() -> None:
    """It is a mistake of the caller, who would think that Мария is registered."""
    user = a_user(name="Иван")

    with pytest.raises(UserAlreadyRegistered):
        await register_user(a_registration(user_id=user.id, name="Мария"), uow := a_uow(user))

    assert uow.store.pull_events() == []


@pytest.mark.parametrize(("name", "email"), [("", "ivan@example.com"), ("Иван", "ivan")])
async def test_an_unusable_value_registers_nobody(name: str, email: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(InvalidValue):
        await register_user(a_registration(name=name, email=email), uow := a_uow())

    assert uow.store.seen == []


async def test_all_users_of_a_list_are_registered() -> None:
    """In the order of their addresses, so that no two imports wait for each other."""
    rows = a_registration(email="olga@example.com"), a_registration(email="ivan@example.com")

    await import_users(ImportUsers(users=rows), uow := a_uow())

    assert [event.email for event in uow.store.pull_events()] == [
        "ivan@example.com",
        "olga@example.com",
    ]


async def test_a_list_with_an_unusable_row_registers_nobody() -> None:
    """Anyone who has sent it sends it again without that row."""
    rows = a_registration(email="ivan@example.com"), a_registration(email="olga")

    with pytest.raises(InvalidValue):
        await import_users(ImportUsers(users=rows), uow := a_uow())

    assert uow.store.seen == []


async def test_a_user_is_in_a_list_twice_and_registered_once() -> None:
    """Lists are made by people. The address tells, in any spelling."""
    known = a_user(name="Иван", email="ivan@example.com")
    rows = [a_registration(name="Иван", email="IVAN@example.com")]
    rows += [a_registration(name="Olga", email="olga@example.com") for _ in range(2)]

    await import_users(ImportUsers(users=tuple(rows)), uow := a_uow(known))

    assert [event.user_id for event in uow.store.pull_events()] == [rows[1].user_id]


async def test_a_known_address_with_another_name_is_refused() -> None:
    """It is another person, or a mistake."""
    known = a_user(name="Иван", email="ivan@example.com")
    rows = (a_registration(name="Olga", email="ivan@example.com"),)

    with pytest.raises(UserAlreadyRegistered):
        await import_users(ImportUsers(users=rows), a_uow(known))


async def test_an_address_is_changed() -> None:
    """The event has both, for the old one is warned."""
    user = a_user(email="old@example.com")
    command = ChangeEmail(user_id=user.id, new_email="new@example.com")

    await change_email(command, uow := a_uow(user))

    assert str(user.email) == "new@example.com"
    assert uow.store.pull_events() == [
        EmailChanged(user_id=user.id, old_email="old@example.com", new_email="new@example.com")
    ]


async def test_only_the_address_of_a_user_can_be_changed() -> None:
    """A wrong id is refused, and the caller is told."""
    command = ChangeEmail(user_id=a_user_id(), new_email="new@example.com")

    with pytest.raises(UserNotFound, match=str(command.user_id)):
        await change_email(command, a_uow(a_user()))


async def test_an_address_that_does_not_exist_is_marked() -> None:
    """Nobody writes to it again."""
    user = a_user(email="ivan@example.com")

    await record_bounce(RecordBounce(user_id=user.id, email="ivan@example.com"), uow := a_uow(user))

    assert user.email_undeliverable
    assert uow.store.pull_events() == [EmailBounced(user_id=user.id, email="ivan@example.com")]


async def test_a_bounce_of_an_address_that_the_user_has_left_marks_nothing() -> None:
    """The new one may well exist."""
    user = a_user(email="new@example.com")

    await record_bounce(RecordBounce(user_id=user.id, email="old@example.com"), uow := a_uow(user))

    assert (user.email_undeliverable, uow.store.pull_events()) == (False, [])


async def test_a_registration_is_logged() -> None:
    """With the address that was registered, whatever it is by then."""
    event = registered()

    await log_registration(event, uow := a_uow())

    assert uow.log.lines == [(event.user_id, "ivan@example.com")]


async def test_a_batch_of_coupons_is_added() -> None:
    """All of its coupons are left."""
    await add_coupon_batch(a_batch(reference="SPRING", quantity=5), uow := a_uow())

    [batch] = uow.store.seen
    assert isinstance(batch, CouponBatch)
    assert (str(batch.reference), batch.quantity, batch.remaining) == ("SPRING", 5, 5)


async def test_a_repeated_batch_adds_no_coupons() -> None:
    """A repeated command must not print money."""
    batch = a_coupon_batch(quantity=5)
    batch.allocate(a_user_id(), token="x7")

    await add_coupon_batch(a_batch(quantity=5), a_uow(batch))

    assert (batch.quantity, batch.remaining) == (5, 4)


async def test_a_batch_of_another_quantity_is_refused() -> None:
    """Its sender would think that there are as many."""
    with pytest.raises(CouponBatchAlreadyAdded, match="quantity 5"):
        await add_coupon_batch(a_batch(quantity=6), a_uow(a_coupon_batch(quantity=5)))


async def test_a_new_user_gets_a_coupon() -> None:
    """It is added by whoever has it made, as each aggregate is."""
    event, batch = registered(), a_coupon_batch(quantity=2)

    await allocate(event, uow := a_uow(batch))

    _, coupon = uow.store.seen
    assert isinstance(coupon, Coupon)
    assert (coupon.user_id, coupon.code.value) == (event.user_id, "WELCOME-x7")
    assert batch.remaining == 1
    assert uow.store.pull_events() == [allocated(coupon)]


async def test_a_coupon_is_of_the_first_batch_that_has_one() -> None:
    """Batches are used up one after the other."""
    batches = [a_coupon_batch(quantity=1, reference=reference) for reference in ("B", "A")]

    await allocate(registered(), a_uow(*batches))

    assert [batch.remaining for batch in batches] == [1, 0]


async def test_who_comes_too_late_gets_none() -> None:
    """Nobody is forgotten: an event says that there was none."""
    batch = a_coupon_batch(quantity=1)
    batch.allocate(a_user_id(), token="x6")

    await allocate(event := registered(), uow := a_uow(batch))

    assert uow.store.pull_events() == [CouponDenied(user_id=event.user_id)]


async def test_marketing_hears_of_the_last_coupon() -> None:
    """By an event, which has a handler of its own."""
    await allocate(registered(), uow := a_uow(a_coupon_batch(quantity=1)))

    exhausted = CouponBatchExhausted(batch_reference="WELCOME")
    assert exhausted in uow.store.pull_events()


async def test_a_coupon_is_redeemed() -> None:
    """Other services read that it was, and not its code."""
    coupon, redemption_id = a_coupon(), uuid4()

    await redeem_coupon(a_redemption(coupon.code.value, redemption_id), uow := a_uow(coupon))

    assert coupon.state == "redeemed"
    assert uow.store.pull_events() == [
        CouponRedeemed(
            redemption_id=redemption_id, user_id=coupon.user_id, batch_reference="WELCOME"
        )
    ]


async def test_a_repeated_redemption_records_nothing() -> None:
    """A till that got no answer asks again."""
    coupon = a_coupon()
    coupon.redeem(redemption_id := uuid4())

    await redeem_coupon(a_redemption(coupon.code.value, redemption_id), uow := a_uow(coupon))

    assert uow.store.pull_events() == []


async def test_a_coupon_is_not_redeemed_twice() -> None:
    """It costs money each time."""
    coupon = a_coupon()
    coupon.redeem(uuid4())

    with pytest.raises(CouponAlreadyRedeemed):
        await redeem_coupon(a_redemption(coupon.code.value), a_uow(coupon))


async def test_an_unknown_code_redeems_nothing() -> None:
    """A slip of the finger is nearly a code, so the refusal does not repeat it."""
    with pytest.raises(CouponNotFound) as refusal:
        await redeem_coupon(a_redemption("WELCOME-x8"), a_uow(a_coupon(code="WELCOME-x7")))

    assert "x8" not in str(refusal.value)


async def test_a_coupon_expires() -> None:
    """It cannot be redeemed any longer, and its place is given back by another handler."""
    coupon = a_coupon()

    await expire_coupon(allocated(coupon), uow := a_uow(coupon))

    assert uow.store.pull_events() == [
        CouponExpired(user_id=coupon.user_id, batch_reference="WELCOME")
    ]
    with pytest.raises(CouponIsExpired):
        await redeem_coupon(a_redemption(coupon.code.value), uow)


async def test_a_redeemed_coupon_does_not_expire() -> None:
    """Its place would be given away a second time."""
    coupon = a_coupon()
    coupon.redeem(uuid4())

    await expire_coupon(allocated(coupon), uow := a_uow(coupon))

    assert (coupon.state, uow.store.pull_events()) == ("redeemed", [])


async def test_the_place_of_an_expired_coupon_goes_back_to_its_batch() -> None:
    """And to no other."""
    batch, other = a_coupon_batch(quantity=1), a_coupon_batch(quantity=1, reference="A")
    coupon = batch.allocate(a_user_id(), token="x7")
    expired = CouponExpired(user_id=coupon.user_id, batch_reference="WELCOME")

    await give_coupon_back(expired, a_uow(batch, other))

    assert (batch.remaining, other.remaining) == (1, 1)


async def test_no_place_is_given_back_to_a_full_batch() -> None:
    """There would be one coupon more than marketing has ordered."""
    expired = CouponExpired(user_id=a_user_id(), batch_reference="WELCOME")

    with pytest.raises(CouponBatchIsFull):
        await give_coupon_back(expired, a_uow(a_coupon_batch()))


async def test_a_place_of_an_unknown_batch_is_refused() -> None:
    """It would be lost silently."""
    expired = CouponExpired(user_id=a_user_id(), batch_reference="SPRING")

    with pytest.raises(CouponBatchNotFound, match="SPRING"):
        await give_coupon_back(expired, a_uow(a_coupon_batch()))


async def test_the_list_of_users_shows_a_user_as_it_is_now() -> None:
    """Whichever event comes first, and however old it is."""
    user, other = a_user(name="Иван", email="now@example.com"), a_user(email="olga@example.com")
    old = UserRegistered(user_id=user.id, name="Иван", email="then@example.com")

    await refresh_user_view(old, uow := a_uow(user, other))

    assert uow.list.rows() == {user.id: ("Иван", "now@example.com", False, None, None)}


async def test_the_list_of_users_shows_their_coupons() -> None:
    """And what has become of them."""
    user = a_user(name="Иван", email="ivan@example.com")
    coupon = a_coupon(code="WELCOME-x7", user_id=user.id)
    coupon.redeem(redemption_id := uuid4())
    event = CouponRedeemed(redemption_id=redemption_id, user_id=user.id, batch_reference="WELCOME")

    await refresh_user_view(event, uow := a_uow(user, coupon))

    assert uow.list.rows() == {
        user.id: ("Иван", "ivan@example.com", False, "WELCOME-x7", "redeemed")
    }
