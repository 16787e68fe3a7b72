"""What only a database promises of users and coupons; the rest is in `RepositoriesContract`."""

from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import pytest
from aftercommit import Application, testing

from allocation import views
from allocation.adapters import orm
from allocation.domain.bases import Aggregate
from allocation.domain.coupons import BatchReference, CouponAlreadyAllocated, CouponCode
from allocation.domain.events import CouponDenied
from allocation.domain.users import EmailAlreadyRegistered, User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import a_coupon_batch, a_registration, a_user, a_user_id
from tests.looking import coupons_left, rows
from tests.repositories_contract import available

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]


def a_uow(app: Application) -> AbstractAsyncContextManager[UnitOfWork]:
    return testing.unit_of_work(app)


async def store(app: Application, *aggregates: Aggregate) -> None:
    async with a_uow(app) as uow:
        for aggregate in aggregates:
            uow._store.add(aggregate)


async def allocate(app: Application, user: User, token: str = "1") -> CouponCode:
    async with a_uow(app) as uow:
        uow.coupons.add(coupon := (await available(uow)).allocate(user.id, token=token))
        return coupon.code


async def refresh(app: Application, user: User) -> None:
    async with a_uow(app) as uow:
        await uow.user_view.refresh(user.id)


async def stored_emails(app: Application) -> list[str]:
    return sorted(str(row.email) for row in await rows(app, orm.users.select()))


async def test_two_aggregates_keyed_by_value_objects_change_together(each_app: Application) -> None:
    """Rows are written in the order of their keys, so the keys have to have one."""
    of = {each: a_user(email=f"{each}@example.com") for each in ("B", "A")}
    batches = (a_coupon_batch(reference=each, quantity=1) for each in of)
    await store(each_app, *of.values(), *batches)

    async with a_uow(each_app) as uow:
        for reference, user in of.items():
            batch = await uow.coupon_batches.get(BatchReference(reference))
            uow.coupons.add(batch.allocate(user.id, token="1"))

    assert await coupons_left(each_app) == {"A": 0, "B": 0}


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


async def test_no_user_can_have_two_coupons(each_app: Application) -> None:
    """Of two units of work, or of one, and whichever batch it is from: no retry may help."""
    await store(each_app, ivan := a_user(), a_coupon_batch(quantity=1, reference="A"))
    await store(each_app, maria := a_user(email="maria@example.com"), a_coupon_batch(quantity=10))
    await allocate(each_app, ivan, "1")

    with pytest.raises(CouponAlreadyAllocated, match=str(ivan.id)):
        await allocate(each_app, ivan, "2")
    with pytest.raises(CouponAlreadyAllocated, match=str(maria.id)):
        async with a_uow(each_app) as uow:
            for token in ("1", "2"):
                uow.coupons.add((await available(uow)).allocate(maria.id, token=token))

    assert await coupons_left(each_app) == {"A": 0, "WELCOME": 10}


async def test_a_denied_coupon_is_about_the_user(each_app: Application) -> None:
    """Other services read that, and there may be no batch."""
    report = await each_app.bus.handle(registration := a_registration())

    denied = {each.subject for each in report.events if isinstance(each.event, CouponDenied)}
    assert denied == {str(registration.user_id)}


async def test_queries_find_whom_to_write_to(each_app: Application) -> None:
    """They read what is committed, whatever the spelling; nobody is written to for nothing."""
    user = a_user(email="Ivan@example.com")
    await store(each_app, user, a_coupon_batch())
    code = await allocate(each_app, user)
    database = each_app.database

    assert await views.find_contact(database, user.id) == "Ivan@example.com"
    assert await views.find_coupon_holder(database, code.value) == "Ivan@example.com"
    assert await views.holders_of(database, EmailAddress("IVAN@example.com")) == [user.id]
    async with a_uow(each_app) as uow:
        (await uow.coupons.get(code)).redeem(uuid4())
        (await uow.users.get(user.id)).record_bounce(user.email)

    assert await views.find_coupon_holder(database, code.value) is None
    assert await views.find_contact(database, user.id) is None
    with pytest.raises(UserNotFound):
        await views.find_contact(database, a_user_id())


async def test_each_change_of_an_aggregate_raises_its_version(each_app: Application) -> None:
    """So two who have read the same cannot both change it."""
    user = a_user(email="old@example.com")
    await store(each_app, user)

    versions = []
    for email in ("old@example.com", "new@example.com"):
        async with a_uow(each_app) as uow:
            (await uow.users.get(user.id)).change_email(EmailAddress(email))
        async with a_uow(each_app) as uow:
            versions.append((await uow.users.get(user.id)).version)

    assert versions == [1, 2]
