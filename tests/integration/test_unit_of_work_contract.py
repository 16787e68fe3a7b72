"""What every unit of work promises: the fake's and each database's."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from uuid import uuid4

import anyio
import pytest
from aftercommit.errors import ConcurrentUpdate
from anyio.lowlevel import checkpoint

from allocation.domain.aggregate import Aggregate
from allocation.domain.coupons import (
    BatchReference,
    CouponAlreadyAllocated,
    CouponBatch,
    CouponBatchNotFound,
    CouponCode,
    CouponIsExpired,
    CouponNotFound,
    Quantity,
)
from allocation.domain.events import (
    CouponBatchExhausted,
    CouponDenied,
    CouponExpired,
    CouponRedeemed,
    UserId,
)
from allocation.domain.users import EmailAlreadyRegistered, User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.read_model_types import UserRow
from tests.builders import TODAY, a_command_envelope, a_user, a_user_id
from tests.worlds import World, a_uow

pytestmark = pytest.mark.anyio


async def store(world: World, *aggregates: Aggregate) -> None:
    async with a_uow(world) as uow:
        for aggregate in aggregates:
            uow._store.add(aggregate)


def batch_of(quantity: int, reference: str = "WELCOME") -> CouponBatch:
    return CouponBatch.add(BatchReference(reference), Quantity(quantity))


async def test_the_event_of_a_batch_that_never_was_is_stored(world: World) -> None:
    """The user goes without a coupon, and somebody may want to know."""
    async with (scope := a_uow(world)) as uow:
        (await uow.coupon_batches.next_available()).allocate(a_user_id(), token="1", today=TODAY)

    assert [type(event.event) for event in scope.committed.events] == [CouponDenied]
    assert await world.coupons_left() == {}


async def test_what_was_stored_comes_back(world: World) -> None:
    """Mapping must not lose or change anything."""
    user = a_user(name="Иван", email="Ivan@Example.com")
    await store(world, user)

    async with a_uow(world) as uow:
        loaded = await uow.users.get(user.id)

    assert (loaded.id, loaded.name, str(loaded.email)) == (user.id, user.name, "Ivan@Example.com")
    assert loaded.version == 1


async def test_a_batch_that_was_stored_comes_back(world: World) -> None:
    """With all that it has, but what is new in it."""
    await store(world, batch_of(7))

    async with a_uow(world) as uow:
        batch = await uow.coupon_batches.get(BatchReference("WELCOME"))

    assert (batch.quantity, batch.remaining, batch.new_coupons) == (7, 7, ())


async def test_what_is_not_there_is_not_found(world: World) -> None:
    """`find` answers None, `get` raises: the name says which."""
    async with a_uow(world) as uow:
        assert await uow.users.find(a_user_id()) is None
        with pytest.raises(UserNotFound):
            await uow.users.get(a_user_id())
        assert await uow.coupon_batches.find(BatchReference("NOWHERE")) is None
        with pytest.raises(CouponBatchNotFound, match="NOWHERE"):
            await uow.coupon_batches.get(BatchReference("NOWHERE"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ivan@example.com", "IVAN@Example.COM"),
        ("иван@пример.рф", "ИВАН@ПРИМЕР.РФ"),
        ("نامه\u200cای@example.com", "نامه\u200cای@EXAMPLE.com"),
    ],
)
async def test_an_address_belongs_to_one_user_in_any_case(
    world: World, first: str, second: str
) -> None:
    """SQL's lower() knows only ASCII; people do not care."""
    await store(world, a_user(email=first))

    with pytest.raises(EmailAlreadyRegistered, match=second):
        await store(world, a_user(email=second))

    assert await world.emails() == [first]


async def test_a_changed_address_is_unique_too(world: World) -> None:
    """The rule is about users, not about registering."""
    maria = a_user(email="maria@example.com")
    await store(world, a_user(email="ivan@example.com"), maria)

    with pytest.raises(EmailAlreadyRegistered, match=r"Ivan@example\.com"):
        async with a_uow(world) as uow:
            (await uow.users.get(maria.id)).change_email(EmailAddress("Ivan@example.com"))

    assert await world.emails() == ["ivan@example.com", "maria@example.com"]


async def test_another_spelling_of_an_address_is_stored(world: World) -> None:
    """It is the same address, and yet another value: e-mails go to it as it is spelled."""
    ivan = a_user(email="Ivan@example.com")
    await store(world, ivan)

    async with (scope := a_uow(world)) as uow:
        (await uow.users.get(ivan.id)).change_email(EmailAddress("ivan@example.com"))

    assert len(scope.committed.events) == 1
    assert await world.emails() == ["ivan@example.com"]


async def test_a_rule_that_the_database_checks_is_known_also_before_the_commit(
    world: World,
) -> None:
    """A query writes what was changed: what that violates is no other error than at the end."""
    await store(world, a_user(email="ivan@example.com"))

    with pytest.raises(EmailAlreadyRegistered):
        async with a_uow(world) as uow:
            uow.users.add(a_user(email="ivan@example.com"))
            await uow.coupon_batches.next_available()


async def test_the_registration_log_is_a_part_of_the_unit_of_work(world: World) -> None:
    """Like all else, it is written with the commit, and not without it or after it."""
    async with world.new_uow(logging := a_command_envelope()) as uow:
        await uow.registration_log.append(a_user_id(), "ivan@example.com")
    with pytest.raises(ZeroDivisionError):
        async with a_uow(world) as uow:
            await uow.registration_log.append(a_user_id(), "lost@example.com")
            raise ZeroDivisionError
    with pytest.raises(Exception, match=r"(?i)closed|over"):
        await uow.registration_log.append(a_user_id(), "late@example.com")

    assert await world.logged() == ["ivan@example.com"]
    assert await world.commands() == {logging.id}


async def test_coupons_come_from_the_first_batch_that_has_some(world: World) -> None:
    """The order of batches is a promise, so that marketing can plan."""
    users = [a_user(email=f"user{n}@example.com") for n in range(4)]
    await store(world, *users, batch_of(2, "A"), batch_of(1, "B"))

    for user in users:
        async with a_uow(world) as uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(user.id, token=user.id.hex, today=TODAY)

    assert await world.coupons_left() == {"A": 0, "B": 0}
    assert sorted(await world.coupon_owners()) == sorted(user.id for user in users[:3])


async def test_that_the_coupons_have_run_out_is_told_once_a_day(world: World) -> None:
    """Of each batch, and then once a day, whichever of them it is."""
    users = [a_user(email=f"user{n}@example.com") for n in range(6)]
    await store(world, *users, batch_of(1, "A"), batch_of(1, "B"))
    told: list[str] = []

    for number, user in enumerate(users):
        async with (scope := a_uow(world)) as uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(user.id, token=user.id.hex, today=TODAY + timedelta(days=number // 5))
        facts = [envelope.event for envelope in scope.committed.events]
        told += [fact.batch_reference for fact in facts if isinstance(fact, CouponBatchExhausted)]

    assert (sorted(told[:2]), len(told)) == (["A", "B"], 3)


async def test_no_user_can_have_two_coupons(world: World) -> None:
    """Whatever the handlers do, and whichever batch it is from: no retry may help."""
    user = a_user()
    await store(world, user, batch_of(1, "A"), batch_of(10))

    with pytest.raises(CouponAlreadyAllocated, match=f"user {user.id} has a coupon already"):
        for token in ("1", "2"):
            async with a_uow(world) as uow:
                batch = await uow.coupon_batches.next_available()
                batch.allocate(user.id, token=token, today=TODAY)

    assert await world.coupon_owners() == [user.id]
    assert await world.coupons_left() == {"A": 0, "WELCOME": 10}


async def test_a_code_that_was_given_before_is_a_conflict(world: World) -> None:
    """The handler is run anew, with another token."""
    user, other = a_user(), a_user(email="other@example.com")
    await store(world, user, other, batch_of(10))

    with pytest.raises(ConcurrentUpdate):
        for each in (user, other):
            async with a_uow(world) as uow:
                batch = await uow.coupon_batches.next_available()
                batch.allocate(each.id, token="1", today=TODAY)

    assert await world.coupon_owners() == [user.id]


async def test_allocating_at_once_never_exceeds_the_batch(world: World) -> None:
    """The scarce thing must not be given away twice, whatever runs at the same time."""
    users = [a_user(email=f"user{n}@example.com") for n in range(12)]
    await store(world, *users, batch_of(5))

    async def allocate(user: User) -> None:
        with suppress(ConcurrentUpdate):  # of those who go without, only one reports it
            async with a_uow(world) as uow:
                batch = await uow.coupon_batches.next_available()
                await checkpoint()
                batch.allocate(user.id, token=user.id.hex, today=TODAY)

    async def allocate_as_the_bus_does(user: User) -> None:
        try:
            await allocate(user)
        except ConcurrentUpdate:  # somebody else was the first to tell that there are none left
            await allocate_as_the_bus_does(user)

    async with anyio.create_task_group() as group:
        for user in users:
            group.start_soon(allocate_as_the_bus_does, user)

    owners = await world.coupon_owners()
    assert len(owners) == 5
    assert max(Counter(owners).values()) == 1
    assert await world.coupons_left() == {"WELCOME": 0}


async def a_coupon_for(world: World, user: User) -> CouponCode:
    async with a_uow(world) as uow:
        batch = await uow.coupon_batches.next_available()
        coupon = batch.allocate(user.id, token=user.id.hex, today=TODAY)
    assert coupon is not None
    return coupon.code


async def test_a_coupon_is_found_by_its_code_and_keeps_what_became_of_it(world: World) -> None:
    """At the till, nobody knows more of it."""
    user, redemption_id = a_user(), uuid4()
    await store(world, user, batch_of(1))
    code = await a_coupon_for(world, user)

    async with a_uow(world) as uow:
        (await uow.coupons.get(code)).redeem(redemption_id)

    async with a_uow(world) as uow:
        coupon = await uow.coupons.get(code)
        with pytest.raises(CouponNotFound):
            await uow.coupons.get(CouponCode("WELCOME-2"))
    assert (coupon.user_id, coupon.code, str(coupon.batch_reference), coupon.state) == (
        user.id,
        code,
        "WELCOME",
        "redeemed",
    )
    assert (coupon.redemption_id, coupon.version) == (redemption_id, 2)


async def test_of_redeeming_and_expiring_at_once_one_wins(world: World) -> None:
    """Or a coupon would be spent whose place somebody else has, or a place would be lost."""
    users = [a_user(email=f"user{n}@example.com") for n in range(6)]
    await store(world, *users, batch_of(6))
    codes = [await a_coupon_for(world, user) for user in users]
    ends: list[UserId] = []

    async def end(code: CouponCode, *, by_redeeming: bool) -> None:
        try:
            async with (scope := a_uow(world)) as uow:
                coupon = await uow.coupons.get(code)
                await checkpoint()
                coupon.redeem(uuid4()) if by_redeeming else coupon.expire()
        except ConcurrentUpdate:  # as the bus does
            await end(code, by_redeeming=by_redeeming)
        except CouponIsExpired:
            pass
        events = [envelope.event for envelope in scope.committed.events]
        ends.extend(e.user_id for e in events if isinstance(e, CouponRedeemed | CouponExpired))

    async with anyio.create_task_group() as group:
        for number, code in enumerate(codes):
            for by_redeeming in (number % 2 == 0, number % 2 == 1):
                group.start_soon(partial(end, code, by_redeeming=by_redeeming))

    assert sorted(ends) == sorted(user.id for user in users)


async def test_giving_back_and_allocating_at_once_loses_no_place(world: World) -> None:
    """Many coupons expire on the same day, and each is worth what it was."""
    users = [a_user(email=f"user{n}@example.com") for n in range(8)]
    await store(world, *users, batch_of(8))
    for user in users[:4]:
        await a_coupon_for(world, user)

    async def give_back() -> None:
        async with a_uow(world) as uow:
            batch = await uow.coupon_batches.get(BatchReference("WELCOME"))
            await checkpoint()
            batch.give_back()

    async with anyio.create_task_group() as group:
        for user in users[4:]:
            group.start_soon(give_back)
            group.start_soon(a_coupon_for, world, user)

    assert await world.coupons_left() == {"WELCOME": 4}
    assert len(await world.coupon_owners()) == 8


async def test_a_batch_that_was_changed_and_is_loaded_again_keeps_the_change(world: World) -> None:
    """What is loaded is what is stored, so what is changed is stored first."""
    await store(world, user := a_user(), batch_of(2))

    async with a_uow(world) as uow:
        (await uow.coupon_batches.next_available()).allocate(user.id, token="1", today=TODAY)
        (await uow.coupon_batches.get(BatchReference("WELCOME"))).give_back()

    assert await world.coupons_left() == {"WELCOME": 2}


async def test_a_refresh_sees_what_its_own_unit_of_work_changes(world: World) -> None:
    """Or a handler that does both would leave the list as it was, for ever."""
    user = a_user(email="old@example.com")
    await store(world, user)

    async with a_uow(world) as uow:
        await uow.user_view.refresh(user.id)
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))

    assert [row.email for row in await world.view()] == ["new@example.com"]


async def test_refreshing_a_user_that_is_not_there_changes_nothing(world: World) -> None:
    """A read model shows what is, and raises about nothing."""
    async with a_uow(world) as uow:
        await uow.user_view.refresh(a_user_id())

    assert await world.view() == []


async def test_the_read_model_follows_the_aggregates(world: World) -> None:
    """It is refreshed from what is stored, so the order of events does not matter."""
    user = a_user(name="Иван", email="ivan@example.com")
    await store(world, user)

    [row] = await refreshed(world, user)
    assert (row.name, row.email) == ("Иван", "ivan@example.com")
    async with a_uow(world) as uow:
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))
    [row] = await refreshed(world, user)
    assert (row.name, row.email) == ("Иван", "new@example.com")


async def refreshed(world: World, user: User) -> list[UserRow]:
    async with a_uow(world) as uow:
        await uow.user_view.refresh(user.id)
    return await world.view()


async def test_the_read_model_shows_the_coupon_of_a_user(world: World) -> None:
    """As soon as there is one."""
    await store(world, user := a_user(), batch_of(1))

    [row] = await refreshed(world, user)
    assert (row.coupon_code, row.coupon_state) == (None, None)
    async with a_uow(world) as uow:
        (await uow.coupon_batches.next_available()).allocate(user.id, token="1", today=TODAY)
    [row] = await refreshed(world, user)
    assert (row.coupon_code, row.coupon_state) == ("WELCOME-1", "allocated")


async def test_an_address_that_does_not_exist_is_known_as_long_as_somebody_has_it(
    world: World,
) -> None:
    """However it is spelled; and not that of anybody else."""
    user, address = a_user(email="Ivan@example.com"), EmailAddress("ivan@example.com")
    await store(world, user, a_user(email="maria@example.com"))
    assert not await world.is_undeliverable("ivan@example.com")

    async with a_uow(world) as uow:
        (await uow.users.get(user.id)).record_bounce(address)
    known = [await world.is_undeliverable(f"{who}@example.com") for who in ("IVAN", "maria", "eve")]
    async with a_uow(world) as uow:
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))

    assert known == [True, False, False]
    assert not await world.is_undeliverable("ivan@example.com")
    assert not await world.is_undeliverable("new@example.com")
