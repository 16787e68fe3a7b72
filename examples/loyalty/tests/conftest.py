"""What the tests share: the service, on databases of the engine's test kit."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aftercommit import App, Application, IdempotencyKey

from loyalty.bootstrap import bootstrap
from loyalty.config import Settings
from loyalty.entrypoints.app import APP


@dataclass
class OrderedCoupons:
    """The port in tests: it keeps what was ordered, and raises its `failure`, if there is one."""

    batches: dict[str, int] = field(default_factory=dict)
    orders: dict[IdempotencyKey, str] = field(default_factory=dict)
    failure: Exception | None = None

    async def order(
        self, reference: str, quantity: int, *, idempotency_key: IdempotencyKey
    ) -> None:
        if self.failure:
            raise self.failure
        if self.orders.setdefault(idempotency_key, reference) != reference:
            raise AssertionError("one key, two orders: record an event for each of them")
        self.batches[reference] = quantity


@pytest.fixture(scope="session")
def app() -> App[Settings]:
    """The service, for the engine's fixtures, which make databases for it."""
    return APP


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Settings for a new database of each kind."""
    return APP.load({"database_url": database_url})


@pytest.fixture
def coupons() -> OrderedCoupons:
    """What was ordered."""
    return OrderedCoupons()


@pytest.fixture
async def application(sqlite_url: str, coupons: OrderedCoupons) -> AsyncIterator[Application]:
    """The service on a SQLite file; orders are only kept."""
    settings = APP.load({"database_url": sqlite_url})
    async with bootstrap(APP, settings, coupon_supply=coupons) as application:
        yield application
