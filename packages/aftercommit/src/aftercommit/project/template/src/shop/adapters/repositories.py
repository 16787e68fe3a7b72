"""The unit of work in a database, and those of its repositories that need SQL."""

from collections.abc import Sequence

import sqlalchemy as sa
from aftercommit import Refusals, Transaction

from shop.adapters import orm
from shop.service_layer.unit_of_work import StatisticName, UnitOfWork


def unit_of_work(transaction: Transaction) -> UnitOfWork:
    """Return the repositories, in the transaction that the engine opens for each attempt."""
    transaction.refusals = refusals
    return UnitOfWork(transaction, SqlAlchemyStatistics(transaction))


def refusals(seen: Sequence[object]) -> Refusals:
    """Return what violated constraints mean, by their names; `seen` was added or loaded."""
    return {}


class SqlAlchemyStatistics:
    """The statistics, a table with a row for each number."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def count(self, name: StatisticName) -> None:
        number = orm.statistics.c
        one_more = sa.update(orm.statistics).values(count=number.count + 1)
        await self._transaction.execute(one_more.where(number.name == name))
