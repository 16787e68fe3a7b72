"""The account of a user and its credits: an aggregate with parts, which knows when a reward is due.

Credits may come in any order, and several times: the result is the same.
"""

from uuid import UUID

from loyalty.domain.bases import Aggregate, InvalidValue, RuleViolation
from loyalty.domain.messages import PointsCredited, RewardEarned

POINTS = {"registration": 20, "redemption": 80, "goodwill": 50}
"""The points for each occasion."""

REWARD_EVERY = 100  # points
REWARD_COUPONS = 5


class AccountNotFound(RuleViolation, says="user {} has no points"):
    """No user with this id has points."""


class CreditIdTaken(RuleViolation, says="there is a credit with the id {} for another occasion"):
    """The user has another credit with this id."""


class Credit:
    """A part of an account: the points of one occasion. It is reached through the account."""

    def __init__(self, credit_id: UUID, occasion: str) -> None:
        if occasion not in POINTS:
            known = ", ".join(POINTS)
            raise InvalidValue(repr(occasion[:40]), f"is no occasion for points; there are {known}")
        self.id = credit_id
        self.occasion = occasion
        self.points = POINTS[occasion]


class Account(Aggregate):
    """The points of a user."""

    def __init__(self, user_id: UUID) -> None:
        self.id = user_id
        self.version = 0
        self.points = 0
        self.credits: list[Credit] = []

    def credit(self, credit_id: UUID, occasion: str) -> None:
        """Add points, and record PointsCredited, and RewardEarned for each threshold reached.

        The same credit again changes nothing.
        """
        new = Credit(credit_id, occasion)
        known = {each.id: each.occasion for each in self.credits}
        if credit_id in known:
            if known[credit_id] != occasion:
                raise CreditIdTaken(credit_id)
            return
        rewards_before = self.points // REWARD_EVERY
        self.credits.append(new)
        self.points += new.points
        self.record(PointsCredited(user_id=self.id, points=new.points))
        for number in range(rewards_before, self.points // REWARD_EVERY):
            threshold = (number + 1) * REWARD_EVERY
            self.record(RewardEarned(user_id=self.id, threshold=threshold))


def batch_reference(event: RewardEarned) -> str:
    """Return the reference for the coupons of a reward, always the same, so they are made once.

    The service that makes them accepts at most forty letters, digits, - and _.
    """
    return f"L{event.user_id.hex}-{event.threshold}"
