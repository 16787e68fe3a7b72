"""How many statements each use case takes: the cheapest guard against one that got slower.

What counts, and what the engine itself takes, is in `test_statement_counts.py` of its package.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aftercommit import Application
from aftercommit_tests.asked import counting

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail, Command
from allocation.domain.events import CouponAllocated
from allocation.entrypoints.app import APP
from tests.builders import a_batch, a_redemption, a_registration

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres")]

IVAN = a_registration(email="ivan@example.com")


@pytest.fixture
async def application(each_settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(APP, replace(each_settings, dispatch="worker")) as application:
        await application.bus.handle(a_batch(quantity=10))
        await application.bus.handle(IVAN)
        yield application


COMMANDS: dict[str, tuple[Command, int, int]] = {  # statements, and fewer if they are combined
    "a registration": (a_registration(email="new@example.com"), 5, 3),
    "the same once more": (IVAN, 1, 1),
    "another address": (ChangeEmail(user_id=IVAN.user_id, new_email="new@example.com"), 5, 3),
    "a batch": (a_batch(reference="SPRING"), 3, 3),
}


@pytest.mark.parametrize(("command", "number", "combined"), COMMANDS.values(), ids=COMMANDS)
async def test_a_command_takes_so_many_statements(
    application: Application, command: Command, number: int, combined: int
) -> None:
    """Its row, what it reads, what it writes, its events, and a delivery to each handler."""
    with counting(application.database) as asked:
        await application.bus.execute(command)

    is_asyncpg = application.database.engine.dialect.driver == "asyncpg"
    assert len(asked) == (combined if is_asyncpg else number)


HANDLERS = {
    "send_welcome_email": 1,
    "log_registration": 2,
    "allocate_welcome_coupon": 6,
    "refresh_user_view": 3,
    "send_coupon_email": 2,
    "send_change_notice": 1,
}


@pytest.mark.on("trio-sqlite")
async def test_a_handler_takes_so_many_statements(application: Application) -> None:
    """What it reads and writes, its events and their deliveries; the last one completes its own."""
    await application.bus.execute(ChangeEmail(user_id=IVAN.user_id, new_email="other@example.com"))
    found: dict[str, int] = {}
    events: list[object] = []

    while claims := await application.bus.delivery_store.claim(10, list(HANDLERS)):
        for claim in claims:
            with counting(application.database) as asked:
                report = await application.bus.run([claim])
            found[claim.handler] = len(asked)
            events += [each.event for each in report.events]

    assert found == HANDLERS
    [allocated] = [each for each in events if isinstance(each, CouponAllocated)]
    with counting(application.database) as asked:
        await application.bus.execute(a_redemption(allocated.code))
    assert len(asked) == 5
