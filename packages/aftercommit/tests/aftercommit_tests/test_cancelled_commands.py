"""Commands that are cancelled at random moments, on each database."""

import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from sqlalchemy import event, select

from aftercommit_tests.builders import a_command
from aftercommit_tests.things import storage
from aftercommit_tests.things.app import Settings, bootstrap

pytestmark = pytest.mark.anyio


async def test_cancelled_commands_are_stored_if_and_only_if_acknowledged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled at random moments, 200 times: no answer is lost, no connection, no warning."""
    dice = random.Random(2026)
    acknowledged: list[str] = []
    connected: list[object] = []

    async with bootstrap(replace(settings, pool_size=1)) as application:
        event.listen(application.database.engine.sync_engine, "connect", collect(connected))

        began = anyio.current_time()
        for n in range(4):
            await application.bus.execute(a_command(f"first {n}"))
            acknowledged.append(f"first {n}")
        longest = anyio.current_time() - began  # for four at once

        async def make(name: str) -> None:
            with anyio.move_on_after(dice.uniform(0, longest)):
                await application.bus.execute(a_command(name))
                acknowledged.append(name)

        for batch in range(50):
            async with anyio.create_task_group() as group:
                for n in range(4):
                    group.start_soon(make, f"thing {batch}-{n}")

        async with application.database.read_transaction() as transaction:
            stored = (await transaction.execute(select(storage.things.c.name))).scalars().all()
    assert 4 < len(stored) < 204
    assert Counter(map(str, stored)) == Counter(acknowledged)
    assert connected == []
    slow = "held the only write lock"  # a busy machine
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record for record in warnings if slow not in record.msg] == []


def collect(into: list[object]) -> Callable[[object, object], None]:
    return lambda connection, _: into.append(connection)
