"""The handlers, and at the end the table that maps messages to handlers.

A handler that asks for `uow` changes the database, and takes effect exactly once. One that asks for
`coupon_supply` has an external effect, at least once, with the same `idempotency_key`. None asks
for both: a failure between the two would double the one or lose the other.
"""

from aftercommit import PUBLISH, Handlers, IdempotencyKey, on

from loyalty.domain.accounts import REWARD_COUPONS, Account, batch_reference
from loyalty.domain.bases import Command, Event
from loyalty.domain.messages import CreditPoints, PointsCredited, RewardEarned
from loyalty.service_layer.ports import CouponSupply
from loyalty.service_layer.unit_of_work import UnitOfWork


async def credit_points(command: CreditPoints, uow: UnitOfWork) -> None:
    """Credit a user with points, and open an account the first time."""
    account = await uow.accounts.find(command.user_id)
    if account is None:
        uow.accounts.add(account := Account(command.user_id))
    account.credit(command.credit_id, command.occasion)


async def count_points(event: PointsCredited, uow: UnitOfWork) -> None:
    """Keep the statistics."""
    await uow.statistics.count(points=event.points)


async def count_reward(event: RewardEarned, uow: UnitOfWork) -> None:
    """Keep the statistics."""
    await uow.statistics.count(rewards=1)


async def order_coupons(
    event: RewardEarned, coupon_supply: CouponSupply, idempotency_key: IdempotencyKey
) -> None:
    """Order coupons for the reward. Its reference identifies it, so a repetition adds none."""
    reference = batch_reference(event)
    await coupon_supply.order(reference, REWARD_COUPONS, idempotency_key=idempotency_key)


HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[on(CreditPoints, credit_points)],
    events=[
        on(PointsCredited, count_points),
        on(RewardEarned, count_reward, order_coupons, PUBLISH),
    ],
)
