"""The statistics in memory keep the promise of those in a database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from shop.service_layer.unit_of_work import Statistics

from tests.statistics_contract import StatisticsContract
from tests.unit.memory import MemoryStatistics


class InMemory:
    """Statistics that several units of work have in common."""

    def __init__(self) -> None:
        self._statistics = MemoryStatistics()

    @asynccontextmanager
    async def statistics(self) -> AsyncIterator[Statistics]:
        yield self._statistics

    async def numbers(self) -> Mapping[str, int]:
        return self._statistics.numbers


class TestInMemory(StatisticsContract):
    """Without a database."""

    @pytest.fixture
    def counted(self) -> InMemory:
        return InMemory()
