"""What a handler may change: the repositories, in one transaction.

The engine opens the transaction for each attempt, and commits it when the handler has returned.
"""

from typing import Protocol
from uuid import UUID

from aftercommit import AggregateStore, Repository

from loyalty.domain.accounts import Account, AccountNotFound


class Statistics(Protocol):
    """A read model: how many points users have collected, and how many rewards they have earned."""

    async def count(self, *, points: int = 0, rewards: int = 0) -> None:
        """Count some more."""


class UnitOfWork:
    """What a handler may change. A new aggregate needs one line here, and its table."""

    def __init__(self, store: AggregateStore, statistics: Statistics) -> None:
        self.accounts = Repository[Account, UUID](store, Account, AccountNotFound)
        self.statistics = statistics
