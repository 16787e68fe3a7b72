"""What the statistics promise: in memory, and on each database."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from shop.service_layer.unit_of_work import Statistics


class Counted(Protocol):
    """Where the statistics are."""

    def statistics(self) -> AbstractAsyncContextManager[Statistics]:
        """Open a unit of work, and return its statistics."""

    async def numbers(self) -> Mapping[str, int]:
        """Return what was counted."""


@pytest.mark.anyio
class StatisticsContract:
    """A subclass says in its fixture `counted` where they are."""

    async def test_numbers_add_up(self, counted: Counted) -> None:
        """Each unit of work counts on where the one before has stopped."""
        for _ in range(2):
            async with counted.statistics() as statistics:
                await statistics.count(placed=2)
                await statistics.count(cancelled=1)

        assert await counted.numbers() == {"placed": 4, "cancelled": 2}
