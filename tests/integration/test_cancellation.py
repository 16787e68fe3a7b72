"""Commands that are cancelled at random moments, on each database."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from sqlalchemy import event, select

from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from tests.builders import a_registration

pytestmark = pytest.mark.anyio


async def test_cancelled_registrations_are_stored_if_and_only_if_acknowledged(
    each_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled at random moments, 200 times: no answer is lost, no connection, no warning."""
    dice = random.Random(2026)
    acknowledged: list[str] = []
    connected: list[object] = []

    async with bootstrap(replace(each_settings, pool_size=1)) as application:
        event.listen(application.database.engine.sync_engine, "connect", collect(connected))

        began = anyio.current_time()
        for n in range(4):
            await application.bus.execute(a_registration(email=f"first{n}@example.com"))
            acknowledged.append(f"first{n}@example.com")
        longest = anyio.current_time() - began  # for four at once

        async def register(email: str) -> None:
            with anyio.move_on_after(dice.uniform(0, longest)):
                await application.bus.execute(a_registration(email=email))
                acknowledged.append(email)

        for batch in range(50):
            async with anyio.create_task_group() as group:
                for n in range(4):
                    group.start_soon(register, f"user{batch}-{n}@example.com")

        async with application.database.read_transaction() as transaction:
            stored = (await transaction.execute(select(orm.users.c.email))).scalars().all()
    assert 4 < len(stored) < 204
    assert Counter(map(str, stored)) == Counter(acknowledged)
    assert connected == []
    slow = "held the only write lock"  # a busy machine
    assert [record for record in caplog.records if slow not in record.msg] == []


def collect(into: list[object]) -> Callable[[object, object], None]:
    return lambda connection, _: into.append(connection)
