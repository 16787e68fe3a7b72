"""The repositories, the registration log and the read model, on each database."""

from contextlib import AbstractAsyncContextManager

import pytest
from aftercommit import Application, testing

from allocation.adapters import orm
from allocation.domain.events import UserId
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.looking import rows, users
from tests.repositories_contract import ListedUser, RepositoriesContract

pytestmark = pytest.mark.everywhere


class InDatabase:
    """What is stored in a database."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return testing.unit_of_work(self._app)

    async def users(self) -> dict[UserId, ListedUser]:
        return {
            UserId(row.user_id): ListedUser(
                row.name, row.email, row.email_undeliverable, row.coupon_code, row.coupon_state
            )
            for row in (await users(self._app)).values()
        }

    async def registrations(self) -> list[tuple[UserId, str]]:
        log = orm.registration_log.select().order_by(orm.registration_log.c.id)
        return [(row.user_id, row.email) for row in await rows(self._app, log)]


class TestInDatabase(RepositoriesContract):
    """On SQLite, and on PostgreSQL."""

    @pytest.fixture
    def stored(self, each_app: Application) -> InDatabase:
        return InDatabase(each_app)
