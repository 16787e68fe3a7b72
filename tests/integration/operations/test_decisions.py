"""What a person decides about deliveries, and is told of: on each database."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import event, update

from allocation.adapters import orm
from allocation.adapters.operations import decisions
from allocation.adapters.operations.exceptions import DeliveryNotFound
from allocation.adapters.operations.history import history
from allocation.adapters.operations.views import Stranger, listed_deliveries, strangers
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.entrypoints.operations.strangers import watching
from allocation.entrypoints.running import StopSignal
from allocation.service_layer.envelopes import EventId
from tests.builders import HANDLER_NAMES, a_delivery, a_failure
from tests.integration.test_delivery_model import Key, SqliteModel
from tests.integration.test_outbox_contract import (
    commit_an_event,
    handlers_owed,
    let_leases_end,
)
from tests.transitions import Step
from tests.worlds import SqlWorld, sql_world, sqlite_url

pytestmark = pytest.mark.anyio

OTHERS = [name for name in HANDLER_NAMES if name != "log_registration"]


async def test_a_retry_by_hand_starts_anew(world: SqlWorld) -> None:
    """The cause is mended: all attempts are available again."""
    first = await commit_an_event(world)
    outbox = world.outbox()
    await outbox.record_failure(a_failure(first["send_welcome_email"], OSError()))
    await outbox.record_failure(a_failure(first["log_registration"], OSError()))

    event_id = first["send_welcome_email"].envelope.id
    await decisions.retry(world.database, event_id, "send_welcome_email")
    (claim,) = await outbox.claim(10, HANDLER_NAMES)
    assert (claim.handler, claim.attempt) == ("send_welcome_email", 1)

    assert await decisions.retry_all_parked(world.database) == 1
    assert [claim.handler for claim in await outbox.claim(10, HANDLER_NAMES)] == [
        "log_registration"
    ]


async def test_a_discarded_delivery_is_gone(world: SqlWorld) -> None:
    """A person decided that the work is not to be done; that it was not is not hidden."""
    first = await commit_an_event(world)

    event_id = first["log_registration"].envelope.id
    await decisions.discard(world.database, event_id, "log_registration")

    assert "log_registration" not in await handlers_owed(world)
    (row,) = await history(world.database, limit=1)
    assert (row.done, row.discarded, row.waiting) == (1, 1, 3)


async def test_what_is_not_owed_cannot_be_retried_or_discarded(world: SqlWorld) -> None:
    """A typing mistake must not look like success."""
    stranger = a_delivery()
    event_id = EventId(stranger.envelope.id)

    with pytest.raises(DeliveryNotFound, match=str(event_id)):
        await decisions.retry(world.database, event_id, "log_registration")
    with pytest.raises(DeliveryNotFound, match="log_registration"):
        await decisions.discard(world.database, event_id, "log_registration")


async def test_what_nobody_here_can_do_is_told_when_it_is_overdue(world: SqlWorld) -> None:
    """It is never given up by itself, so somebody has to hear of it."""
    lease = world.policy.lease
    await commit_an_event(world)
    await let_leases_end(world)
    assert await strangers(world.database, [], overdue=lease) == []

    await world.move_clock(lease)

    assert await strangers(world.database, OTHERS, overdue=lease) == [
        Stranger("log_registration", "user_registered", 1)
    ]


@pytest.mark.parametrize("change", [{"type": "user_vanished"}, {"schema_version": 99}])
async def test_what_only_a_newer_process_can_read_is_told_when_it_is_overdue(
    world: SqlWorld, change: dict[str, str | int]
) -> None:
    """It may be that there is no newer process."""
    await commit_an_event(world)
    async with world.database.writing() as session:
        await session.execute(update(orm.events).values(**change))
        await session.commit()
    await let_leases_end(world)
    await world.move_clock(world.policy.lease)

    found = await strangers(world.database, HANDLER_NAMES, overdue=world.policy.lease)

    assert sum(stranger.count for stranger in found) == len(await world.deliveries())


async def test_what_nobody_here_can_do_is_told_once(
    world: SqlWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a warning, not in silence; and not once a minute."""
    looks = 0

    async def counted(*args: Any, **kwargs: Any) -> Sequence[Stranger]:
        nonlocal looks
        looks += 1
        return await strangers(*args, **kwargs)

    monkeypatch.setattr("allocation.entrypoints.operations.strangers.strangers", counted)
    monkeypatch.setattr("allocation.entrypoints.operations.strangers.LOOK_SECONDS", 0.01)
    await commit_an_event(world)
    await let_leases_end(world)
    await world.move_clock(world.policy.lease)
    registry = SimpleNamespace(events=dict.fromkeys(OTHERS))
    parts = SimpleNamespace(database=world.database, bus=SimpleNamespace(registry=registry))
    watch, stop = watching(Settings()), StopSignal()

    async with anyio.create_task_group() as group:
        group.start_soon(watch, cast("Application", parts), stop)
        with anyio.fail_after(60):
            while looks < 4:
                await checkpoint()
        stop.set()

    warnings = [r.getMessage() for r in caplog.records if "overdue" in r.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("overdue: user_registered for log_registration (1): ")
    assert len(await world.deliveries()) == 4


async def test_what_is_owed_is_listed_without_looking_at_what_is_done(tmp_path: Path) -> None:
    """However long the history is: each part is in an index that holds nothing else."""
    asked: list[tuple[str, Any]] = []

    async with sql_world(sqlite_url(tmp_path)) as world:
        engine = world.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        async with listed_deliveries(world.database) as rows:
            assert [row async for row in rows] == []
        selects = [select for select in asked if "FROM deliveries" in select[0]]
        async with world.database.engine.connect() as connection:
            plans = [
                (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)).all()
                for sql, given in selects
            ]

    used = [[step.detail.partition("INDEX ")[2].split()[0] for step in plan] for plan in plans]
    of_events = "sqlite_autoindex_events_1"
    assert used == [["ix_deliveries_due_at", of_events], ["ix_deliveries_parked_at", of_events]]


class DecisionsModel(SqliteModel):
    """The walk through the life of deliveries, with a person who decides about some."""

    @precondition(lambda self: self.call(self.world.deliveries))
    @rule(data=st.data(), discard=st.booleans())
    def decide_by_hand(self, data: st.DataObject, discard: bool) -> None:
        key: Key = data.draw(st.sampled_from(sorted(self.call(self.world.deliveries))))
        assert isinstance(self.world, SqlWorld)
        decide = decisions.discard if discard else decisions.retry
        self.call(decide, self.world.database, *key)
        self._step(key, Step.DISCARD if discard else Step.RETRY)
        if discard:
            self.owed.discard(key)


TestDecisionsModel = DecisionsModel.TestCase
TestDecisionsModel.settings = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
