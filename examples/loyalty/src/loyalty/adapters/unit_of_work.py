"""The unit of work in a database."""

from collections.abc import Sequence

import sqlalchemy as sa
from aftercommit import Refusals, Transaction

from loyalty.adapters import orm
from loyalty.service_layer.unit_of_work import UnitOfWork


class SqlAlchemyUnitOfWork(UnitOfWork):
    """The repositories, and what the engine asks for at the commit."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction, SqlAlchemyStatistics(transaction))

    async def before_commit(self) -> None:
        """Leave it at that: the statistics are written at once."""

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return what a violated constraint means, by its name: no rule is checked by one yet."""
        return {}


class SqlAlchemyStatistics:
    """The statistics, a table with a row for each number."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def count(self, *, points: int = 0, rewards: int = 0) -> None:
        column = orm.statistics.c
        for name, more in {"points": points, "rewards": rewards}.items():
            this = sa.update(orm.statistics).where(column.name == name)
            await self._transaction.execute(this.values(count=column.count + more))
