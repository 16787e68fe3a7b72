"""What giving coupons away asks of a database: the rest of it is the engine's."""

import pytest
from sqlalchemy import event

from allocation.domain.coupons import BatchReference, CouponBatch, Quantity
from tests.builders import TODAY, a_user_id
from tests.worlds import a_uow, sql_world

pytestmark = pytest.mark.anyio


async def test_a_coupon_that_this_unit_of_work_has_given_away_is_gone(database_url: str) -> None:
    """The row is read anew under its lock; what is not written yet must not be forgotten."""
    async with sql_world(database_url) as world:
        async with a_uow(world) as uow:
            uow.coupon_batches.add(CouponBatch.add(BatchReference("WELCOME"), Quantity(2)))

        coupons = []
        with pytest.raises(ZeroDivisionError):  # the users of the coupons are not there
            async with a_uow(world) as uow:
                for number in range(3):
                    batch = await uow.coupon_batches.next_available()
                    coupon = batch.allocate(a_user_id(), token=str(number), today=TODAY)
                    coupons.append(coupon)
                raise ZeroDivisionError

    assert [coupon is not None for coupon in coupons] == [True, True, False]


async def test_the_next_coupon_costs_one_statement(database_url: str) -> None:
    """Every registration asks for it, and holds up all others meanwhile."""
    statements: list[str] = []
    async with sql_world(database_url) as world:
        async with a_uow(world) as uow:
            uow.coupon_batches.add(CouponBatch.add(BatchReference("WELCOME"), Quantity(2)))
        for database in (world.database, world.other_database):
            event.listen(
                database.engine.sync_engine,
                "before_cursor_execute",
                lambda *arguments: statements.append(arguments[2]),
            )

        async with a_uow(world) as uow:
            await uow.coupon_batches.next_available()

    assert len([each for each in statements if "coupon_batches" in each]) == 1
