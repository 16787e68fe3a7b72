"""The unit of work in a database, and those of its repositories that need SQL."""

import sqlalchemy as sa
from aftercommit import Transaction

from loyalty.adapters import orm
from loyalty.service_layer.unit_of_work import UnitOfWork


def unit_of_work(transaction: Transaction) -> UnitOfWork:
    """Return the repositories, in the transaction that the engine opens for each attempt."""
    return UnitOfWork(transaction, SqlAlchemyStatistics(transaction))


class SqlAlchemyStatistics:
    """The statistics, a table with a row for each number."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def count(self, *, points: int = 0, rewards: int = 0) -> None:
        column = orm.statistics.c
        for name, more in {"points": points, "rewards": rewards}.items():
            this = sa.update(orm.statistics).where(column.name == name)
            await self._transaction.execute(this.values(count=column.count + more))
