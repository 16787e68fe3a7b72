# room: operations, postgresql
"""The commands of the room "operations" with a database on a server."""

import anyio
import pytest
from sqlalchemy import select

from allocation.adapters import orm
from allocation.adapters.operations.forgetting import forget
from tests.command_line import Application
from tests.integration.operations.test_replaying import commit_events, settle
from tests.worlds import sql_world


@pytest.mark.parametrize(
    "command",
    [
        ("deliveries", "list"),
        ("deliveries", "retry", "--all-parked"),
        ("events", "prune", "--older-than", "1d"),
    ],
)
def test_whoever_only_looks_needs_no_place_for_emails(
    application: Application, command: tuple[str, ...]
) -> None:
    """Beside a database on a server there is none by itself."""
    result = application.run(*command, database_url="postgresql://127.0.0.1:1/allocation")

    assert result.returncode == 3
    assert "the database is not available" in result.stderr


@pytest.mark.anyio
async def test_forgetting_passes_by_what_is_being_replayed(postgres_url: str) -> None:
    """It neither waits for it, nor takes the event away under it."""
    async with sql_world(postgres_url) as world:
        first, *_ = committed = await commit_events(world, 3)
        await settle(world, committed)
        await world.move_clock(10)
        event_id = first["log_registration"].envelope.id
        kept = select(orm.events.c.id).where(orm.events.c.id == event_id)

        async with world.other_database.writing() as replay:
            await replay.execute(kept.with_for_update(read=True, key_share=True))
            with anyio.fail_after(5):
                assert await forget(world.database, older_than=5) == 2

        assert await world.event_ids() == {event_id}
        assert await forget(world.database, older_than=5) == 1
