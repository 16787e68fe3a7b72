"""The commands and events: plain data, of types that JSON can hold."""

from dataclasses import dataclass
from uuid import UUID

from loyalty.domain.bases import Command, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditPoints(Command):
    """Credit a user with points. Repeating it with the same id changes nothing."""

    credit_id: UUID
    user_id: UUID
    occasion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsCredited(Event):
    """A user has more points."""

    user_id: UUID
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardEarned(Event):
    """A user has collected as many points as the threshold of a reward."""

    user_id: UUID
    threshold: int
