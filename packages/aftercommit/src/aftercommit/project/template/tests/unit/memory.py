"""The unit of work in memory, for tests that call a handler directly."""

from collections import Counter

from aftercommit.testing import MemoryStore

from shop.service_layer.unit_of_work import StatisticName, UnitOfWork


class MemoryStatistics:
    """The statistics in a dictionary, with the guarantees of the table: see `count_some`."""

    def __init__(self) -> None:
        self.numbers = Counter[str]()

    async def count(self, name: StatisticName) -> None:
        self.numbers[name] += 1


class MemoryUnitOfWork(UnitOfWork):
    """What a handler may change: the aggregates that are passed to this."""

    def __init__(self, *stored: object) -> None:
        self.store = MemoryStore({}, *stored)
        self.counted = MemoryStatistics()
        super().__init__(self.store, self.counted)
