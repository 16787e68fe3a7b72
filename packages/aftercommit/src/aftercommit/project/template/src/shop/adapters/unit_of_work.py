"""The unit of work in a database."""

import sqlalchemy as sa
from aftercommit import Transaction

from shop.adapters import orm
from shop.service_layer.unit_of_work import StatisticName, UnitOfWork


class SqlAlchemyUnitOfWork(UnitOfWork):
    """The repositories, in the transaction that the engine opens for each attempt."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, SqlAlchemyStatistics(transaction))


class SqlAlchemyStatistics:
    """The statistics, a table with a row for each number."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def count(self, name: StatisticName) -> None:
        number = orm.statistics.c
        one_more = sa.update(orm.statistics).values(count=number.count + 1)
        await self._transaction.execute(one_more.where(number.name == name))
