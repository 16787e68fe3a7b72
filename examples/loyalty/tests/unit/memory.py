"""The unit of work in memory, for tests that call a handler directly."""

from collections import Counter

from aftercommit.testing import MemoryStore

from loyalty.service_layer.unit_of_work import UnitOfWork


class MemoryStatistics:
    """The statistics, a dictionary. They promise what the table does: see `count_some`."""

    def __init__(self) -> None:
        self.numbers = Counter[str]()

    async def count(self, *, points: int = 0, rewards: int = 0) -> None:
        self.numbers.update(points=points, rewards=rewards)


class MemoryUnitOfWork(UnitOfWork):
    """What a handler may change, among the aggregates that it is made with."""

    def __init__(self, *stored: object) -> None:
        self.store = MemoryStore({}, *stored)
        self.counted = MemoryStatistics()
        super().__init__(self.store, self.counted)
