"""What a handler may change: the repositories, in one transaction.

The engine opens the transaction for each attempt, and commits it when the handler has returned.
"""

from typing import Literal, Protocol
from uuid import UUID

from aftercommit import AggregateStore, Repository

from shop.domain.orders import Order, OrderNotFound

StatisticName = Literal["placed", "cancelled"]


class Statistics(Protocol):
    """A read model: how many orders were placed, and how many of them were cancelled."""

    async def count(self, name: StatisticName) -> None:
        """Add one to a count."""


class UnitOfWork:
    """What a handler may change. A new aggregate needs one line here, and its table."""

    def __init__(self, store: AggregateStore, statistics: Statistics) -> None:
        self.orders = Repository[Order, UUID](store, Order, OrderNotFound)
        self.statistics = statistics
