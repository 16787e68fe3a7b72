"""What the repositories, the registration log and the read model promise, on each database."""

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from uuid import uuid4

import pytest
from aftercommit import Application, testing

from allocation import views
from allocation.adapters import orm
from allocation.domain.aggregate import Aggregate
from allocation.domain.coupons import (
    BatchReference,
    CouponAlreadyAllocated,
    CouponBatch,
    CouponBatchNotFound,
    CouponCode,
    CouponNotFound,
)
from allocation.domain.events import CouponDenied
from allocation.domain.users import EmailAlreadyRegistered, User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import TODAY, a_coupon_batch, a_registration, a_user, a_user_id
from tests.looking import count, coupons_left, rows, users

pytestmark = pytest.mark.anyio

WELCOME = BatchReference("WELCOME")


def a_uow(app: Application) -> AbstractAsyncContextManager[UnitOfWork]:
    return testing.unit_of_work(app)


async def store(app: Application, *aggregates: Aggregate) -> None:
    async with a_uow(app) as uow:
        for aggregate in aggregates:
            uow._store.add(aggregate)


async def available(uow: UnitOfWork) -> CouponBatch:
    batch = await uow.coupon_batches.next_available()
    assert batch
    return batch


async def allocate(app: Application, user: User, token: str = "1", *, day: int = 0) -> CouponCode:
    async with a_uow(app) as uow:
        batch = await available(uow)
        batch.allocate(user.id, token=token, today=TODAY + timedelta(days=day))
        return CouponCode(f"{batch.reference}-{token}")


async def refresh(app: Application, user: User) -> None:
    async with a_uow(app) as uow:
        await uow.user_view.refresh(user.id)


async def stored_emails(app: Application) -> list[str]:
    return sorted(str(row.email) for row in await rows(app, orm.users.select()))


async def test_a_user_that_was_stored_comes_back(each_app: Application) -> None:
    """Mapping must not lose or change anything."""
    user = a_user(name="Иван", email="Ivan@Example.com")
    await store(each_app, user)

    async with a_uow(each_app) as uow:
        loaded = await uow.users.get(user.id)
        found = await uow.users.find_by_email(
            [EmailAddress("IVAN@example.com"), EmailAddress("nobody@example.com")]
        )

    assert (loaded.id, loaded.name, str(loaded.email)) == (user.id, user.name, "Ivan@Example.com")
    assert (loaded.version, loaded.email_undeliverable) == (1, False)
    assert found == {user.email: loaded}


async def test_a_coupon_is_found_by_its_code_and_keeps_what_became_of_it(
    each_app: Application,
) -> None:
    """At the till, the code is all that is known."""
    user, redemption_id = a_user(), uuid4()
    await store(each_app, user, a_coupon_batch(quantity=7))
    code = await allocate(each_app, user)

    async with a_uow(each_app) as uow:
        (await uow.coupons.get(code)).redeem(redemption_id)

    async with a_uow(each_app) as uow:
        coupon = await uow.coupons.get(code)
        batch = await uow.coupon_batches.get(WELCOME)
    assert (coupon.user_id, coupon.code, coupon.batch_reference) == (user.id, code, WELCOME)
    assert (coupon.state, coupon.redemption_id, coupon.version) == ("redeemed", redemption_id, 2)
    assert (batch.quantity, batch.remaining, batch.new_parts) == (7, 6, ())


async def test_an_aggregate_that_is_not_there_is_not_found(each_app: Application) -> None:
    """`find` returns None, `get` raises: the name says which."""
    async with a_uow(each_app) as uow:
        assert await uow.users.find(a_user_id()) is None
        assert await uow.coupon_batches.find(WELCOME) is None
        with pytest.raises(UserNotFound):
            await uow.users.get(a_user_id())
        with pytest.raises(CouponBatchNotFound, match="WELCOME"):
            await uow.coupon_batches.get(WELCOME)
        with pytest.raises(CouponNotFound):
            await uow.coupons.get(CouponCode("WELCOME-2"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ivan@example.com", "IVAN@Example.COM"),
        ("иван@пример.рф", "ИВАН@ПРИМЕР.РФ"),
        ("نامه\u200cای@example.com", "نامه\u200cای@EXAMPLE.com"),
    ],
)
async def test_an_address_belongs_to_one_user_in_any_case(
    each_app: Application, first: str, second: str
) -> None:
    """SQL's lower() knows only ASCII; people do not care."""
    await store(each_app, a_user(email=first))

    with pytest.raises(EmailAlreadyRegistered, match=second):
        await store(each_app, a_user(email=second))

    assert await stored_emails(each_app) == [first]


async def test_a_changed_address_is_unique_too_and_another_spelling_is_stored(
    each_app: Application,
) -> None:
    """The rule is about users, not registering. E-mails go to the address as it is spelled."""
    maria = a_user(email="Maria@example.com")
    await store(each_app, a_user(email="ivan@example.com"), maria)

    with pytest.raises(EmailAlreadyRegistered, match=r"Ivan@example\.com"):
        async with a_uow(each_app) as uow:
            (await uow.users.get(maria.id)).change_email(EmailAddress("Ivan@example.com"))
    async with a_uow(each_app) as uow:
        (await uow.users.get(maria.id)).change_email(EmailAddress("maria@example.com"))

    assert await stored_emails(each_app) == ["ivan@example.com", "maria@example.com"]


async def test_coupons_come_from_the_first_batch_that_has_some(each_app: Application) -> None:
    """The order of batches is a promise, so that marketing can plan."""
    customers = [a_user(email=f"user{n}@example.com") for n in range(4)]
    batches = [a_coupon_batch(quantity=1, reference="B"), a_coupon_batch(quantity=2, reference="A")]
    await store(each_app, *customers, *batches)

    codes = [await allocate(each_app, user, str(n)) for n, user in enumerate(customers)]

    assert [code.value for code in codes[:3]] == ["A-0", "A-1", "B-2"]
    assert await coupons_left(each_app) == {"A": 0, "B": 0}
    assert await count(each_app, orm.coupons) == 3


async def test_exhausted_batches_are_reported_each_once_and_then_one_of_them_once_a_day(
    each_app: Application,
) -> None:
    """Marketing reads that there is nothing left, and is not flooded with it."""
    customers = [a_user(email=f"user{n}@example.com") for n in range(6)]
    batches = [a_coupon_batch(quantity=1, reference=reference) for reference in "AB"]
    await store(each_app, *customers, *batches)

    reported = []
    for n, user in enumerate(customers):
        await allocate(each_app, user, str(n), day=n // 5)
        found = await rows(each_app, orm.coupon_batches.select())
        reported.append({row.reference.value: row.exhaustion_notified_on for row in found})

    tomorrow = TODAY + timedelta(days=1)
    assert reported[1] == {"A": None, "B": None}
    assert list(reported[2].values()).count(TODAY) == 1
    assert reported[3] == reported[4] == {"A": TODAY, "B": TODAY}
    assert sorted(map(str, reported[5].values())) == [str(TODAY), str(tomorrow)]


async def test_no_user_can_have_two_coupons(each_app: Application) -> None:
    """Whatever the handlers do, and whichever batch it is from: no retry may help."""
    await store(each_app, user := a_user(), a_coupon_batch(quantity=1, reference="A"))
    await store(each_app, a_coupon_batch(quantity=10))
    await allocate(each_app, user, "1")

    with pytest.raises(CouponAlreadyAllocated, match=str(user.id)):
        await allocate(each_app, user, "2")

    assert await coupons_left(each_app) == {"A": 0, "WELCOME": 10}


async def test_without_any_batch_none_is_available_and_the_event_says_so(
    each_app: Application,
) -> None:
    """Other services read what a denied coupon is about: a batch, or NONE."""
    report = await each_app.bus.handle(a_registration())

    denied = {each.subject for each in report.events if isinstance(each.event, CouponDenied)}
    assert denied == {"NONE"}


async def test_a_batch_that_was_changed_and_is_loaded_again_keeps_the_change(
    each_app: Application,
) -> None:
    """What is loaded is what is stored, so what is changed is stored first."""
    await store(each_app, user := a_user(), a_coupon_batch(quantity=2))

    async with a_uow(each_app) as uow:
        (await available(uow)).allocate(user.id, token="1", today=TODAY)
        (await uow.coupon_batches.get(WELCOME)).give_back()

    assert await coupons_left(each_app) == {"WELCOME": 2}


async def test_the_read_model_follows_the_aggregates(each_app: Application) -> None:
    """It is made from what is stored, so the order of events does not matter."""
    user = a_user(name="Иван", email="old@example.com")
    await store(each_app, user, a_coupon_batch())
    await refresh(each_app, user)
    before = (await users(each_app))["old@example.com"]
    assert (before.user_id, before.name, before.coupon_code) == (user.id, "Иван", None)

    await allocate(each_app, user, "1")
    async with a_uow(each_app) as uow:
        await uow.user_view.refresh(user.id)  # sees also what this unit of work changes after it
        (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))

    after = (await users(each_app))["new@example.com"]
    assert (after.name, after.coupon_code, after.coupon_state) == ("Иван", "WELCOME-1", "allocated")
    assert len(await users(each_app)) == 1


async def test_queries_find_whom_to_write_to(each_app: Application) -> None:
    """They read what is committed, whatever the spelling; a redeemed coupon has no holder."""
    user = a_user(email="Ivan@example.com")
    await store(each_app, user, a_coupon_batch())
    code = await allocate(each_app, user)
    database = each_app.database

    assert await views.find_contact(database, user.id) == "Ivan@example.com"
    assert await views.find_coupon_holder(database, code.value) == "Ivan@example.com"
    assert not await views.is_undeliverable(database, "ivan@example.com")
    assert await views.holders_of(database, EmailAddress("IVAN@example.com")) == [user.id]
    async with a_uow(each_app) as uow:
        (await uow.coupons.get(code)).redeem(uuid4())
        (await uow.users.get(user.id)).record_bounce(user.email)

    assert await views.find_coupon_holder(database, code.value) is None
    assert await views.is_undeliverable(database, "ivan@example.com")
    assert not await views.is_undeliverable(database, "nobody@example.com")
    with pytest.raises(UserNotFound):
        await views.find_contact(database, a_user_id())


async def test_a_coupon_that_this_unit_of_work_has_given_away_is_gone(
    each_app: Application,
) -> None:
    """The row is read anew under its lock; what is not written yet must not be forgotten."""
    await store(each_app, a_coupon_batch(quantity=2))

    coupons = []
    with pytest.raises(ZeroDivisionError):  # the users of the coupons are not there
        async with a_uow(each_app) as uow:
            for number in range(3):
                batch = await available(uow)
                coupons.append(batch.allocate(a_user_id(), token=str(number), today=TODAY))
            raise ZeroDivisionError

    assert [coupon is not None for coupon in coupons] == [True, True, False]
