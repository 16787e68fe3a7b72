"""How many statements each step takes: the cheapest guard against one that got slower.

Each call of the driver counts, also one with many rows; BEGIN, COMMIT and the hint that wakes
workers do not. A number that has to grow is changed here, with a reason in the commit that does it.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aftercommit import Application

from aftercommit_tests.asked import counting
from aftercommit_tests.builders import a_command, a_failure
from aftercommit_tests.things.app import Settings, bootstrap
from aftercommit_tests.things.domain import Command, RenameThing, ThingMade

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

LAMP = a_command("lamp")
MADE = ThingMade(thing_id=LAMP.thing_id, name="lamp")
COMMANDS: dict[str, tuple[Command, int, int]] = {  # statements, and fewer if they are combined
    "a new thing": (a_command("torch"), 5, 3),
    "the same once more": (LAMP, 1, 1),
    "another name": (RenameThing(thing_id=LAMP.thing_id, name="torch"), 4, 3),
}
HANDLERS = {"announce": 1, "look_at": 1, "write_down": 2, "polish": 4, "praise": 1}
COMBINED = HANDLERS | {"polish": 2}


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(replace(settings, dispatch="worker")) as application:
        await application.bus.handle(LAMP)
        yield application


def is_asyncpg(application: Application) -> bool:
    return application.database.engine.dialect.driver == "asyncpg"


@pytest.mark.parametrize(("command", "number", "combined"), COMMANDS.values(), ids=COMMANDS)
async def test_a_command_takes_so_many_statements(
    application: Application, command: Command, number: int, combined: int
) -> None:
    """Its row, what it reads, what it writes, its events, and a delivery to each handler."""
    with counting(application.database) as asked:
        await application.bus.execute(command)

    assert len(asked) == (combined if is_asyncpg(application) else number)


async def test_a_handler_takes_so_many_statements(application: Application) -> None:
    """What it reads and writes, its events and their deliveries; the last one completes its own."""
    found: dict[str, int] = {}

    while claims := await application.bus.delivery_store.claim(10, list(HANDLERS)):
        for claim in claims:
            with counting(application.database) as asked:
                await application.bus.run([claim])
            found[claim.handler] = len(asked)

    assert found == (COMBINED if is_asyncpg(application) else HANDLERS)


async def test_a_worker_takes_so_many_statements(application: Application) -> None:
    """However many deliveries there are in a claim; of these, all of another process."""
    store, all_handlers = application.bus.delivery_store, list(HANDLERS)
    with counting(application.database) as asked:
        assert await store.seconds_until_due(all_handlers) is not None
    assert len(asked) == 1
    with counting(application.database) as asked:  # first what is live, then what is replayed
        assert await store.claim(10, ["nobody"]) == []
    assert len(asked) == 2

    with counting(application.database) as asked:  # the leases, and the events
        claims = await store.claim(10, all_handlers)
    at_once = application.database.backend.delivery_store is not None
    assert {claim.envelope.event for claim in claims} == {MADE}
    assert len(asked) == (1 if at_once else 2)
    with counting(application.database) as asked:  # the delivery, and its past
        await store.record_failure(a_failure(claims[0], OSError("down"), retry_in=1))
    assert len(asked) == 2
    with counting(application.database) as asked:
        await store.release(claims[1:])
    assert len(asked) == 2
