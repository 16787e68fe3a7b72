"""The rules of points, without a database."""

from itertools import permutations
from uuid import UUID, uuid4

import pytest

from loyalty.domain.accounts import POINTS, Account, CreditIdTaken, batch_reference
from loyalty.domain.bases import InvalidValue
from loyalty.domain.messages import PointsCredited, RewardEarned

USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")


def an_account(*occasions: str) -> Account:
    account = Account(USER)
    for occasion in occasions:
        account.credit(uuid4(), occasion)
    account.pull_events()
    return account


def test_points_are_credited_for_an_occasion() -> None:
    """Others act on it: statistics, and later perhaps an e-mail."""
    account = an_account()

    account.credit(uuid4(), "registration")

    assert account.points == POINTS["registration"]
    assert account.pull_events() == (PointsCredited(user_id=USER, points=20),)


def test_a_reward_is_earned_when_its_threshold_is_reached() -> None:
    """Once, and not again with the next points."""
    account = an_account("registration")

    account.credit(uuid4(), "redemption")
    account.credit(uuid4(), "registration")

    earned = [each for each in account.pull_events() if isinstance(each, RewardEarned)]
    assert earned == [RewardEarned(user_id=USER, threshold=100)]


def test_each_threshold_has_a_reward_of_its_own() -> None:
    """A step may be larger than one threshold some day."""
    account = an_account("redemption")
    found = []
    for _ in range(3):
        account.credit(uuid4(), "redemption")
        found += [e.threshold for e in account.pull_events() if isinstance(e, RewardEarned)]

    assert (account.points, found) == (320, [100, 200, 300])


def test_a_credit_that_comes_again_changes_nothing() -> None:
    """Other services send everything at least once."""
    account, credit_id = an_account(), uuid4()
    account.credit(credit_id, "redemption")
    account.pull_events()

    account.credit(credit_id, "redemption")

    assert (account.points, account.pull_events()) == (80, ())


def test_a_credit_is_for_one_occasion() -> None:
    """Its sender would think that there are more points now."""
    account, credit_id = an_account(), uuid4()
    account.credit(credit_id, "redemption")

    with pytest.raises(CreditIdTaken):
        account.credit(credit_id, "goodwill")


def test_the_order_of_credits_is_no_matter() -> None:
    """RabbitMQ keeps no order, and a requeued dead letter comes last."""
    ends = {an_account(*order).points for order in permutations(POINTS)}

    assert len(ends) == 1


def test_what_is_no_occasion_is_refused() -> None:
    """The error lists the occasions."""
    with pytest.raises(InvalidValue, match="registration, redemption, goodwill"):
        an_account("birthday")


def test_the_coupons_of_a_reward_have_one_name() -> None:
    """So an order that is repeated adds none; the other service takes forty characters."""
    names = {
        batch_reference(RewardEarned(user_id=user, threshold=threshold))
        for user in (USER, uuid4())
        for threshold in (100, 999_900)
    }

    assert len(names) == 4
    assert max(map(len, names)) == 40
