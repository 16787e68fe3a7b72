"""The handlers, called directly: what they change, and what they record.

`tests/integration/test_use_cases.py` tests what follows from a command, on the bus and a database.
"""

from uuid import UUID, uuid4

import pytest
from aftercommit import IdempotencyKey

from loyalty.domain.accounts import Account
from loyalty.domain.messages import CreditPoints, PointsCredited, RewardEarned
from loyalty.service_layer.handlers import (
    count_points,
    count_reward,
    credit_points,
    order_coupons,
)

from tests.conftest import OrderedCoupons
from tests.statistics_contract import count_some
from tests.unit.memory import MemoryStatistics, MemoryUnitOfWork

pytestmark = pytest.mark.anyio

KEY = IdempotencyKey("of this delivery")
USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
EARNED = RewardEarned(user_id=USER, threshold=100)


def a_command(occasion: str = "registration") -> CreditPoints:
    return CreditPoints(credit_id=uuid4(), user_id=USER, occasion=occasion)


async def test_the_first_credit_opens_an_account() -> None:
    """The other service's messages may come in any order."""
    await credit_points(a_command("redemption"), uow := MemoryUnitOfWork())

    [account] = uow.store.seen
    assert isinstance(account, Account)
    assert (account.id, account.points) == (USER, 80)


async def test_the_next_credit_goes_to_the_same_account() -> None:
    """It may earn a reward."""
    account = Account(USER)
    account.credit(uuid4(), "registration")
    account.pull_events()

    await credit_points(a_command("redemption"), uow := MemoryUnitOfWork(account))

    assert account.points == 100
    assert uow.store.pull_events() == [PointsCredited(user_id=USER, points=80), EARNED]


async def test_points_and_rewards_are_counted() -> None:
    """The statistics show both."""
    uow = MemoryUnitOfWork()

    await count_points(PointsCredited(user_id=USER, points=80), uow)
    await count_reward(EARNED, uow)

    assert uow.counted.numbers == {"points": 80, "rewards": 1}


async def test_statistics_in_memory_count_as_those_in_a_database_do() -> None:
    """Otherwise, the test before would prove nothing. `test_database.py` has the other half."""
    statistics = MemoryStatistics()

    assert await count_some(statistics) == statistics.numbers


async def test_coupons_are_ordered_for_a_reward(coupons: OrderedCoupons) -> None:
    """The key is the delivery's, so that a repetition can be recognized."""
    await order_coupons(EARNED, coupons, KEY)

    reference = "L7d3c1a526c0e4a558a1b0c9a3f8d2e11-100"
    assert (coupons.batches, coupons.orders) == ({reference: 5}, {KEY: reference})
