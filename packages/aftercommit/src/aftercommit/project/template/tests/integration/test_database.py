"""The service on each database."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import anyio
import pytest
from aftercommit import Application, testing

from shop import views
from shop.bootstrap import bootstrap
from shop.config import Settings
from shop.domain.messages import CancelOrder, PlaceOrder
from shop.entrypoints.app import APP

from tests.statistics_contract import count_some

pytestmark = pytest.mark.anyio


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    """The service on each database, with its real adapters."""
    async with bootstrap(APP, settings) as application:
        yield application


async def place(application: Application, **articles: int) -> UUID:
    """Place an order, and return its id."""
    command = PlaceOrder(order_id=uuid4(), email="ivan@example.com", articles=articles)
    report = await application.bus.handle(command)
    assert report.failures == []
    return command.order_id


async def test_an_order_is_loaded_with_its_lines(application: Application) -> None:
    """What is stored is what was ordered."""
    order_id = await place(application, lamp=2, chair=4)

    assert (await views.order(application.database, order_id)).pieces == 6


async def test_statistics_in_a_database_count_as_those_in_memory_do(
    application: Application,
) -> None:
    """Unit tests rely on this."""
    async with testing.unit_of_work(application) as uow:
        expected = await count_some(uow.statistics)

    assert await views.statistics(application.database) == expected


async def test_many_orders_at_once_are_all_counted(application: Application) -> None:
    """No count is lost when others write at the same time."""
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(lambda: place(application, lamp=1))

    assert await views.statistics(application.database) == {"placed": 10, "cancelled": 0}


async def test_two_who_cancel_an_order_cancel_it_once(application: Application) -> None:
    """The order's version tells the second transaction that it is too late, so it runs again."""
    command = CancelOrder(order_id=await place(application, lamp=1))

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(application.bus.handle, command)

    assert await views.statistics(application.database) == {"placed": 1, "cancelled": 1}


async def test_a_broken_mail_folder_fails_e_mails_alone(settings: Settings, mail: Path) -> None:
    """The operator needs the commands of the service in this situation."""
    await anyio.Path(mail).write_text("no folder")
    async with bootstrap(APP, settings) as application:
        command = PlaceOrder(order_id=uuid4(), email="ivan@example.com", articles={"lamp": 1})
        report = await application.bus.handle(command)

        assert [each.delivery.handler for each in report.failures] == ["confirm_order"]
        assert await views.orders(application.database) != []


async def test_an_order_is_confirmed_by_an_email(application: Application, mail: Path) -> None:
    """The folder stands in for a mail server, and contains what was sent."""
    await place(application, lamp=2)

    folder = anyio.Path(mail)
    [file] = [each async for each in folder.glob("new/*")]
    assert "To: ivan@example.com" in (await file.read_text()).splitlines()
    modes = [(await each.stat()).st_mode & 0o777 for each in (folder, file)]
    assert modes == [0o700, 0o600]  # nobody else reads an address
