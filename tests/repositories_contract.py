"""What repositories, registration log and read model promise: on a database, and in memory.

`tests/unit` runs it on its versions in memory, `tests/integration` on each database. What only a
database promises is in `test_repositories.py`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol
from uuid import uuid4

import pytest

from allocation.domain.bases import Aggregate
from allocation.domain.coupons import (
    BatchReference,
    CouponBatch,
    CouponBatchNotFound,
    CouponCode,
    CouponNotFound,
    CouponState,
)
from allocation.domain.events import UserId
from allocation.domain.users import User, UserNotFound
from allocation.domain.values import EmailAddress
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import a_coupon_batch, a_user, a_user_id

WELCOME = BatchReference("WELCOME")


class ListedUser(NamedTuple):
    """A row of the read model."""

    name: str
    email: str
    email_undeliverable: bool
    coupon_code: str | None
    coupon_state: CouponState | None


class Stored(Protocol):
    """All that is stored."""

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a unit of work, which is committed at the end."""

    async def users(self) -> Mapping[UserId, ListedUser]:
        """Return the rows of the read model."""

    async def registrations(self) -> Sequence[tuple[UserId, str]]:
        """Return the lines of the registration log."""


async def store(stored: Stored, *aggregates: Aggregate) -> None:
    async with stored.unit_of_work() as uow:
        for aggregate in aggregates:
            uow._store.add(aggregate)


async def available(uow: UnitOfWork) -> CouponBatch:
    """Return the batch that gives the next coupon: there is one."""
    batch = await uow.coupon_batches.next_available()
    assert batch
    return batch


async def allocate(stored: Stored, user: User, token: str) -> CouponCode:
    async with stored.unit_of_work() as uow:
        uow.coupons.add(coupon := (await available(uow)).allocate(user.id, token=token))
        return coupon.code


@pytest.mark.anyio
class RepositoriesContract:
    """A subclass says in its fixture `stored` where it is."""

    async def test_a_user_that_was_stored_comes_back(self, stored: Stored) -> None:
        """Nothing is lost or changed, and an address is found in any spelling."""
        user = a_user(name="Иван", email="Ivan@Example.com")
        addresses = [EmailAddress("IVAN@example.com"), EmailAddress("nobody@example.com")]
        await store(stored, user, a_user(email="other@example.com"))

        async with stored.unit_of_work() as uow:
            loaded = await uow.users.get(user.id)
            found = await uow.users.find_by_email(addresses)

        assert (loaded.id, loaded.name) == (user.id, user.name)
        assert (str(loaded.email), loaded.email_undeliverable) == ("Ivan@Example.com", False)
        assert found == {user.email: loaded}

    async def test_what_is_added_is_found_after_the_commit(self, stored: Stored) -> None:
        """A handler that has added something knows it already."""
        user = a_user()

        async with stored.unit_of_work() as uow:
            uow.users.add(user)
            found_before = await uow.users.find(user.id)

        async with stored.unit_of_work() as uow:
            assert (found_before, (await uow.users.get(user.id)).id) == (None, user.id)

    async def test_a_coupon_is_found_by_its_code_and_keeps_what_became_of_it(
        self, stored: Stored
    ) -> None:
        """At the till, the code is all that is known."""
        user, redemption_id = a_user(), uuid4()
        await store(stored, user, a_coupon_batch(quantity=7))
        code = await allocate(stored, user, "1")

        async with stored.unit_of_work() as uow:
            (await uow.coupons.get(code)).redeem(redemption_id)

        async with stored.unit_of_work() as uow:
            coupon = await uow.coupons.get(code)
            batch = await uow.coupon_batches.get(WELCOME)
        assert (coupon.user_id, coupon.code, coupon.batch_reference) == (user.id, code, WELCOME)
        assert (coupon.state, coupon.redemption_id) == ("redeemed", redemption_id)
        assert (batch.quantity, batch.remaining) == (7, 6)

    async def test_an_aggregate_that_is_not_there_is_not_found(self, stored: Stored) -> None:
        """`find` returns None, `get` raises: the name says which."""
        async with stored.unit_of_work() as uow:
            assert await uow.users.find(a_user_id()) is None
            assert await uow.coupon_batches.find(WELCOME) is None
            with pytest.raises(UserNotFound):
                await uow.users.get(a_user_id())
            with pytest.raises(CouponBatchNotFound, match="WELCOME"):
                await uow.coupon_batches.get(WELCOME)
            with pytest.raises(CouponNotFound):
                await uow.coupons.get(CouponCode("WELCOME-2"))

    async def test_coupons_come_from_the_first_batch_that_has_some(self, stored: Stored) -> None:
        """The order of batches is a promise, so that marketing can plan."""
        customers = [a_user(email=f"user{n}@example.com") for n in range(3)]
        last = a_coupon_batch(quantity=1, reference="B")
        first = a_coupon_batch(quantity=2, reference="A")
        await store(stored, *customers, last, first)

        codes = [await allocate(stored, user, str(n)) for n, user in enumerate(customers)]

        assert [code.value for code in codes] == ["A-0", "A-1", "B-2"]

    async def test_a_batch_that_was_changed_and_is_loaded_again_keeps_the_change(
        self, stored: Stored
    ) -> None:
        """Anyone who loads it a second time in a unit of work goes on with what there is."""
        await store(stored, user := a_user(), a_coupon_batch(quantity=2))

        async with stored.unit_of_work() as uow:
            uow.coupons.add((await available(uow)).allocate(user.id, token="1"))
            (await uow.coupon_batches.get(WELCOME)).give_back()

        async with stored.unit_of_work() as uow:
            assert (await uow.coupon_batches.get(WELCOME)).remaining == 2

    async def test_a_coupon_that_this_unit_of_work_has_given_away_is_gone(
        self, stored: Stored
    ) -> None:
        """What is not written yet must not be forgotten."""
        customers = [a_user(email=f"user{n}@example.com") for n in range(2)]
        await store(stored, *customers, a_coupon_batch(quantity=2))

        async with stored.unit_of_work() as uow:
            for n, user in enumerate(customers):
                uow.coupons.add((await available(uow)).allocate(user.id, token=str(n)))
            assert await uow.coupon_batches.next_available() is None

    async def test_the_log_has_a_line_for_each_registration(self, stored: Stored) -> None:
        """In their order, also of several units of work."""
        lines = [(a_user_id(), "ivan@example.com"), (a_user_id(), "olga@example.com")]

        for user_id, email in lines:
            async with stored.unit_of_work() as uow:
                await uow.registration_log.append(user_id, email)

        assert list(await stored.registrations()) == lines

    async def test_the_read_model_follows_the_aggregates(self, stored: Stored) -> None:
        """It is made from what is stored, so the order of events does not matter."""
        user = a_user(name="Иван", email="old@example.com")
        await store(stored, user, a_coupon_batch())
        async with stored.unit_of_work() as uow:
            await uow.user_view.refresh(user.id)
        before = await stored.users()

        await allocate(stored, user, "1")
        async with stored.unit_of_work() as uow:
            (await uow.users.get(user.id)).change_email(EmailAddress("new@example.com"))
            await uow.user_view.refresh(user.id)

        assert before == {user.id: ("Иван", "old@example.com", False, None, None)}
        assert await stored.users() == {
            user.id: ("Иван", "new@example.com", False, "WELCOME-1", "allocated")
        }
