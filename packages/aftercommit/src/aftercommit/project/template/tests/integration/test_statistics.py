"""The statistics in each database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from aftercommit import Application, testing

from shop import views
from shop.bootstrap import bootstrap
from shop.config import Settings
from shop.entrypoints.app import APP
from shop.service_layer.unit_of_work import Statistics

from tests.statistics_contract import StatisticsContract


class InDatabase:
    """The table."""

    def __init__(self, application: Application) -> None:
        self._application = application

    @asynccontextmanager
    async def statistics(self) -> AsyncIterator[Statistics]:
        async with testing.unit_of_work(self._application) as uow:
            yield uow.statistics

    async def numbers(self) -> Mapping[str, int]:
        return await views.statistics(self._application.database)


class TestInDatabase(StatisticsContract):
    """On SQLite, and on PostgreSQL."""

    @pytest.fixture
    async def counted(self, settings: Settings) -> AsyncIterator[InDatabase]:
        async with bootstrap(APP, settings) as application:
            yield InDatabase(application)
