"""The service on each database."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import anyio
import pytest
from aftercommit import Application, testing

from loyalty import views
from loyalty.bootstrap import bootstrap
from loyalty.config import Settings
from loyalty.domain.messages import CreditPoints
from loyalty.entrypoints.app import APP

from tests.statistics_contract import count_some

pytestmark = pytest.mark.anyio

USER = UUID("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    """The service on each database, with its real adapters."""
    async with bootstrap(APP, settings) as application:
        yield application


async def credit(application: Application, credit_id: UUID, occasion: str = "goodwill") -> None:
    """Credit the user with points."""
    command = CreditPoints(credit_id=credit_id, user_id=USER, occasion=occasion)
    report = await application.bus.handle(command)
    assert report.failures == []


async def test_an_account_is_loaded_with_its_credits(application: Application) -> None:
    """What was credited is known, also after the process has ended."""
    credit_id = uuid4()

    for _ in range(2):
        await credit(application, credit_id)

    [account] = await views.accounts(application.database)
    assert account.points == 50


async def test_statistics_in_a_database_count_as_those_in_memory_do(
    application: Application,
) -> None:
    """Unit tests rely on this."""
    async with testing.unit_of_work(application) as uow:
        expected = await count_some(uow.statistics)

    assert await views.statistics(application.database) == expected


async def test_credits_that_come_at_once_are_all_counted(application: Application) -> None:
    """This includes the first ones, each of which would open the account."""
    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(credit, application, uuid4())

    [account] = await views.accounts(application.database)
    assert account.points == 300
    assert await views.statistics(application.database) == {"points": 300, "rewards": 3}


async def test_a_credit_that_comes_twice_at_once_is_counted_once(application: Application) -> None:
    """As when a broker sends a message again while the first one is being handled."""
    credit_id = uuid4()

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(credit, application, credit_id)

    assert await views.statistics(application.database) == {"points": 50, "rewards": 0}


async def test_a_reward_waits_for_a_process_that_has_a_broker(application: Application) -> None:
    """This process has no broker, and loses nothing."""
    await credit(application, uuid4(), "redemption")
    await credit(application, uuid4(), "registration")

    assert await views.statistics(application.database) == {"points": 100, "rewards": 1}
    assert "order_coupons" not in application.bus.registry.events
