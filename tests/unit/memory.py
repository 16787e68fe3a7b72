"""The application's unit of work in memory, for tests that call a handler directly.

Its repositories keep the promises of those on a database: both pass `RepositoriesContract`.
"""

from collections.abc import Collection, Mapping

from aftercommit.testing import MemoryStore

from allocation.domain.coupons import Coupon, CouponBatch
from allocation.domain.events import UserId
from allocation.domain.users import User
from allocation.domain.values import EmailAddress
from allocation.service_layer.ports import Users
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.repositories_contract import ListedUser


class MemoryUsers(Users):
    """The users."""

    _store: MemoryStore

    async def find_by_email(self, emails: Collection[EmailAddress]) -> Mapping[EmailAddress, User]:
        found = self._store.load_all(User, lambda user: user.email in emails)
        return {user.email: user for user in found}


class MemoryRegistrationLog:
    """The registration log, a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[UserId, str]] = []

    async def append(self, user_id: UserId, email: str) -> None:
        self.lines.append((user_id, email))


class MemoryUserProjection:
    """The read model: the rows are made when somebody looks, from what the aggregates are then."""

    def __init__(self, store: MemoryStore) -> None:
        self._store, self._stale = store, set[UserId]()

    async def refresh(self, *user_ids: UserId) -> None:
        self._stale.update(user_ids)

    def rows(self) -> dict[UserId, ListedUser]:
        """Return the rows of the users that were refreshed."""
        users = self._store.load_all(User, lambda user: user.id in self._stale)
        coupons = {each.user_id: each for each in self._store.load_all(Coupon, lambda _: True)}
        return {user.id: _row(user, coupons.get(user.id)) for user in users}


def _row(user: User, coupon: Coupon | None) -> ListedUser:
    name, email, undeliverable = str(user.name), str(user.email), user.email_undeliverable
    code, state = (coupon.code.value, coupon.state) if coupon else (None, None)
    return ListedUser(name, email, undeliverable, code, state)


class MemoryUnitOfWork(UnitOfWork):
    """What a handler may change, among the aggregates that it is made with."""

    def __init__(self, *stored: object) -> None:
        self.store = MemoryStore({User: "id", CouponBatch: "reference", Coupon: "code"}, *stored)
        self.log, self.list = MemoryRegistrationLog(), MemoryUserProjection(self.store)
        super().__init__(
            self.store,
            users=MemoryUsers(self.store),
            registration_log=self.log,
            user_view=self.list,
        )
