"""What a person decides about deliveries, and is told of: on each database."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aftercommit.extensions.operations import delivery_admin, handler_pauses
from aftercommit.extensions.operations.command_history import latest_commands
from aftercommit.extensions.operations.delivery_admin import Which, listed_deliveries
from aftercommit.extensions.operations.exceptions import DeliveryNotFound
from aftercommit.sql import tables
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from sqlalchemy import event

from tests.builders import HANDLER_NAMES, a_failure
from tests.integration.extensions.operations.conftest import change, commit_events
from tests.integration.test_delivery_model import Key, SqliteModel
from tests.integration.test_outbox_contract import handlers_owed
from tests.transitions import Step
from tests.worlds import SqlWorld, commit_a_registration, sql_world, sqlite_url

pytestmark = pytest.mark.anyio


async def test_a_retry_by_hand_starts_anew(world: SqlWorld) -> None:
    """The cause is mended: all attempts are available again."""
    first = await commit_a_registration(world)
    outbox = world.outbox()
    await outbox.record_failure(a_failure(first["send_welcome_email"], OSError()))
    await outbox.record_failure(a_failure(first["log_registration"], OSError()))

    event_id = first["send_welcome_email"].envelope.id
    await delivery_admin.retry(world.database, event_id, "send_welcome_email")
    (claim,) = await outbox.claim(10, HANDLER_NAMES)
    assert (claim.handler, claim.attempt) == ("send_welcome_email", 1)

    assert await delivery_admin.retry_all_parked(world.database) == 1
    assert [claim.handler for claim in await outbox.claim(10, HANDLER_NAMES)] == [
        "log_registration"
    ]


async def test_the_parked_deliveries_of_one_handler_are_retried(world: SqlWorld) -> None:
    """Those of the others may have another cause; a name that the handler had counts, too."""
    first = await commit_a_registration(world)
    for claim in first.values():
        await world.outbox().record_failure(a_failure(claim, OSError()))

    names = ["log_registration", "its_old_name"]
    assert await delivery_admin.retry_all_parked(world.database, names) == 1
    claims = await world.outbox().claim(10, HANDLER_NAMES)
    assert [claim.handler for claim in claims] == ["log_registration"]


async def test_a_discarded_delivery_is_gone(world: SqlWorld) -> None:
    """A person decided that the work is not to be done; that it was not is not hidden."""
    first = await commit_a_registration(world)

    event_id = first["log_registration"].envelope.id
    await delivery_admin.discard(world.database, event_id, "log_registration")

    assert "log_registration" not in await handlers_owed(world)
    (row,) = await latest_commands(world.database, limit=1)
    assert (row.done, row.discarded, row.pending) == (0, 1, 3)


async def test_a_decision_that_was_made_before_is_no_riddle(world: SqlWorld) -> None:
    """It is repeated if nobody knows whether it was stored: the connection broke meanwhile."""
    first = await commit_a_registration(world)
    event_id = first["log_registration"].envelope.id
    await delivery_admin.discard(world.database, event_id, "log_registration")

    for decide in (delivery_admin.discard, delivery_admin.retry):
        with pytest.raises(DeliveryNotFound, match="if there was one, it is done or discarded"):
            await decide(world.database, event_id, "log_registration")


async def test_what_is_for_later_is_listed_only_if_it_is_asked_for(world: SqlWorld) -> None:
    """What has failed, and waits, is another matter; so is what is paused, but would be due."""
    [first] = await commit_events(world, 1)
    await world.outbox().record_failure(a_failure(first["send_welcome_email"], retry_in=500))
    fresh = sa.update(tables.deliveries).values(attempts=0, owner=None)
    handler, later = tables.deliveries.c.handler, world.database.clock + 1000
    await change(
        world.database,
        fresh.where(handler == "log_registration").values(available_at=world.database.clock),
        fresh.where(handler == "refresh_user_view").values(available_at=later),
        fresh.where(handler == "allocate_welcome_coupon").values(available_at=later),
    )
    for paused in ("log_registration", "refresh_user_view"):
        await handler_pauses.pause(world.database, [paused], by="Maria")

    async def handlers(which: Which) -> set[str]:
        async with world.database.read_transaction() as transaction:
            listed = listed_deliveries(transaction, world.database, which)
            return {row.handler async for row in listed}

    for_later = {"refresh_user_view", "allocate_welcome_coupon"}
    assert await handlers("scheduled") == for_later
    assert await handlers("outstanding") == set(first) - for_later
    assert await handlers("all") == set(first)
    assert await handlers("parked") == set()


async def test_what_was_written_while_the_clock_was_ahead_is_listed(world: SqlWorld) -> None:
    """With the time when it is due, for nothing else tells why no handler runs."""
    [first] = await commit_events(world, 1)
    await world.outbox().release([*first.values()])
    await world.move_clock(-3600)

    async with world.database.read_transaction() as transaction:
        listed = [row async for row in listed_deliveries(transaction, world.database)]
    (command,) = await latest_commands(world.database, limit=1)

    assert {row.handler for row in listed} == set(first)
    assert {(row.state, row.available_at.timestamp()) for row in listed if row.available_at} == {
        ("due", 1_000_000)
    }
    assert (command.pending, command.scheduled) == (len(first), 0)
    await delivery_admin.retry(
        world.database, first["log_registration"].envelope.id, "log_registration"
    )
    [claim] = await world.outbox().claim(10, HANDLER_NAMES)
    assert claim.handler == "log_registration"


async def test_what_is_owed_is_listed_without_looking_at_what_is_done(tmp_path: Path) -> None:
    """However long the history is: each part is in an index that holds nothing else."""
    asked: list[tuple[str, Any]] = []

    async with sql_world(sqlite_url(tmp_path)) as world:
        engine = world.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        async with world.database.read_transaction() as transaction:
            listed = listed_deliveries(transaction, world.database)
            assert [row async for row in listed] == []
        selects = [select for select in asked if "FROM aftercommit_deliveries" in select[0]]
        async with world.database.engine.connect() as connection:
            plans = [
                (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given)).all()
                for sql, given in selects
            ]

    indexes = [[step.detail.partition("INDEX ")[2] for step in plan] for plan in plans]
    used = [[index.split()[0] for index in each if index] for each in indexes]
    others = [
        "sqlite_autoindex_aftercommit_events_1",
        "sqlite_autoindex_aftercommit_handler_pauses_1",
    ]
    ahead = [
        "ix_aftercommit_events_recorded_at",
        "sqlite_autoindex_aftercommit_events_1",
    ]  # the events of the future
    assert used == [
        ["ix_aftercommit_deliveries_available_at", *ahead, *others, *ahead],
        ["ix_aftercommit_deliveries_parked_at", *others, *ahead],
    ]


class DecisionsModel(SqliteModel):
    """The walk through the life of deliveries, with a person who decides about some.

    Handlers are paused as persons do it, too.
    """

    async def pause(self, handler: str) -> None:
        assert isinstance(self.world, SqlWorld)
        await handler_pauses.pause(self.world.database, [handler], by="Maria")

    async def resume(self, handler: str) -> None:
        assert isinstance(self.world, SqlWorld)
        await handler_pauses.resume(self.world.database, [handler])

    @precondition(lambda self: self.call(self.world.deliveries))
    @rule(data=st.data(), discard=st.booleans())
    def decide_by_hand(self, data: st.DataObject, discard: bool) -> None:
        key: Key = data.draw(st.sampled_from(sorted(self.call(self.world.deliveries))))
        assert isinstance(self.world, SqlWorld)
        decide = delivery_admin.discard if discard else delivery_admin.retry
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
