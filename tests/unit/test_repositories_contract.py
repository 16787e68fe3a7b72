"""The repositories in memory keep the promises of those on a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from allocation.domain.events import UserId
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.repositories_contract import ListedUser, RepositoriesContract
from tests.unit.memory import MemoryUnitOfWork


class InMemory:
    """What several units of work have left in memory."""

    def __init__(self) -> None:
        self._aggregates = dict[object, None]()
        self._users = dict[UserId, ListedUser]()
        self._lines = list[tuple[UserId, str]]()

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        yield (uow := MemoryUnitOfWork(*self._aggregates))
        self._users |= uow.list.rows()
        self._lines += uow.log.lines
        for each in uow.store.seen:
            self._aggregates[each] = None

    async def users(self) -> dict[UserId, ListedUser]:
        return {**self._users}

    async def registrations(self) -> list[tuple[UserId, str]]:
        return self._lines


class TestInMemory(RepositoriesContract):
    """Without a database."""

    @pytest.fixture
    def stored(self) -> InMemory:
        return InMemory()
