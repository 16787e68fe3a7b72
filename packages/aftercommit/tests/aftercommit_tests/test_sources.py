"""Clock, ids and chance are arguments: with the same ones, the same is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from aftercommit import (
    Database,
    Handlers,
    Outbox,
    Sources,
    UtcDateTime,
    on,
    open_application,
    testing,
)
from aftercommit.extensions.operations.decisions import Decision

from aftercommit_tests.builders import a_command
from aftercommit_tests.inside.operations import delivery_admin, redact_mentions
from aftercommit_tests.inside.stored import commands, decisions, events
from aftercommit_tests.outbox.orders import OrderPlaced, open_shop
from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.things.bell import RecordingBell
from aftercommit_tests.things.domain import Command, Event, MakeThing, ThingMade
from aftercommit_tests.things.handlers import make_thing
from aftercommit_tests.things.storage import UnitOfWork, start_mappers

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass
class Given:
    """Sources whose ids count from 1."""

    ids: list[UUID] = field(default_factory=list)
    drawn: int = 0

    def sources(self) -> Sources:
        """Return them."""
        return Sources(now=lambda: NOON, new_id=self._next, random=self._draw)

    def _next(self) -> UUID:
        self.ids.append(UUID(int=len(self.ids) + 1))
        return self.ids[-1]

    def _draw(self) -> float:
        self.drawn += 1
        return 0.5


async def stored(database: Database, *columns: sa.Column[UUID]) -> set[UUID]:
    async with database.read_transaction() as transaction:
        return {
            each
            for column in columns
            for each in (await transaction.execute(sa.select(column))).scalars()
        }


async def test_an_application_takes_all_of_them_from_its_sources(settings: Settings) -> None:
    """Ids of commands, events and decisions, the time of events, and the pause after a failure."""
    start_mappers()
    given, bell = Given(), RecordingBell(failures={"lamp": OSError("it is broken")})
    opening = open_application(
        APP, settings, UnitOfWork, effect_ports={"bell": bell}, sources=given.sources()
    )
    async with opening as application:
        report = await application.bus.handle(a_command("lamp"))
        [failed] = [each.delivery for each in report.failures]
        decision = Decision(by="ann")
        await delivery_admin.retry(
            application.database, failed.envelope.id, failed.handler, decision
        )
        found = await stored(application.database, commands.c.id, events.c.id, decisions.c.id)

    assert failed.envelope.time == NOON
    assert len(found) > 2
    assert found <= {*given.ids}
    assert given.drawn == 1


@dataclass
class Asked:
    """What a handler was given."""

    times: list[datetime] = field(default_factory=list)
    ids: list[UUID] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def rings(
        self,
        event: ThingMade,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        new_token: Callable[[], str],
    ) -> None:
        self.times.append(now())
        self.ids.append(new_id())
        self.tokens.append(new_token())


def handling(asked: Asked) -> Handlers[Command, Event]:
    return Handlers(commands=[on(MakeThing, make_thing)], events=[on(ThingMade, asked.rings)])


async def test_a_handler_asks_for_time_ids_and_tokens_and_let_time_pass_moves_the_time(
    settings: Settings,
) -> None:
    """So a test of "too late after a day" waits for nothing, and writes no SQL."""
    start_mappers()
    given, asked = Given(), Asked()
    table = handling(asked)
    opening = open_application(
        APP, settings, UnitOfWork, handlers=table, sources=replace(given.sources(), new_token=str)
    )
    async with opening as application:
        await application.bus.handle(a_command("lamp"))
        await testing.let_time_pass(application, hours=24)
        await application.bus.handle(a_command("chair"))
        await testing.let_time_pass(application, minutes=1)
        await application.bus.handle(a_command("table"))

    day = timedelta(days=1)
    assert asked.times == [NOON, NOON + day, NOON + day + timedelta(minutes=1)]
    assert set(asked.ids) < set(given.ids)
    assert asked.tokens == [""] * 3


async def test_what_an_application_calls_so_itself_goes_before_what_the_engine_has(
    settings: Settings,
) -> None:
    """Of a version before, it has had such a constant, or a port."""
    start_mappers()
    asked = Asked()
    table = handling(asked)
    constants = {"now": lambda: NOON, "new_token": lambda: "mine"}
    async with open_application(
        APP, settings, UnitOfWork, handlers=table, constants=constants
    ) as application:
        await application.bus.handle(a_command("lamp"))

    assert (asked.times, asked.tokens) == ([NOON], ["mine"])


async def test_named_columns_become_older(database_url: str) -> None:
    """Those that SQL compares with the clock of the database: times, dates and numbers."""
    tables = sa.MetaData()
    promises = sa.Table(
        "promises",
        tables,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("until", UtcDateTime),
        sa.Column("day", sa.Date),
        sa.Column("seconds", sa.Float),
        sa.Column("kept", UtcDateTime),
    )
    row = {"until": NOON, "day": NOON.date(), "seconds": 1000.0, "kept": NOON}
    start_mappers()
    settings = Settings(database_url=database_url)
    ports = {"bell": RecordingBell()}
    async with open_application(APP, settings, UnitOfWork, effect_ports=ports) as application:
        async with application.database.write_transaction() as transaction:
            await transaction.run_sync(tables.create_all)
            rows = [{"id": 1, **row}, {"id": 2, **dict.fromkeys(row)}]
            await transaction.execute(sa.insert(promises), rows)
            await transaction.commit()

        moved = promises.c.until, promises.c.day, promises.c.seconds
        await testing.let_time_pass(application, *moved, days=2)

        async with application.database.read_transaction() as transaction:
            found = await transaction.execute(sa.select(promises).order_by(promises.c.id))
            first, second = (each._mapping for each in found)
    earlier = NOON - timedelta(days=2)
    older = {"until": earlier, "day": earlier.date(), "seconds": 1000.0 - 2 * 86400, "kept": NOON}
    assert first == {"id": 1, **older}
    assert second == {"id": 2, **dict.fromkeys(row)}


async def test_an_erasure_takes_new_ids_from_them(settings: Settings) -> None:
    """A message that has named somebody is called something else."""
    start_mappers()
    given = Given()
    opening = open_application(
        APP, settings, UnitOfWork, effect_ports={"bell": RecordingBell()}, sources=given.sources()
    )
    row = {"id": UUID(int=0), "type": "t", "source": "s", "message_id": "ann@example.com"}
    another = {"id": UUID(int=1), "type": "t", "source": "s", "message_id": "an empty text is here"}
    async with opening as application, application.database.write_transaction() as transaction:
        new = sa.insert(commands).values(correlation_id=UUID(int=0), accepted_at=0.0)
        await transaction.execute(new, [row, another])
        await redact_mentions(transaction, ["ann@example.com", ""])
        ids = sa.select(commands.c.message_id).order_by(commands.c.id)
        renamed = (await transaction.execute(ids)).scalars().all()

    assert renamed == [f"erased-{given.ids[-1]}", another["message_id"]]


async def test_so_does_an_outbox(tmp_path: Path, anyio_backend: str) -> None:
    """Of what it stores in sessions of others, and of what its worker does."""
    given, url = Given(), f"sqlite:///{tmp_path}/shop.db"
    async with open_shop(url, anyio_backend) as shop:
        rows = [on(OrderPlaced)]
        outbox = Outbox("shop", url, rows, sources=given.sources())
        async with outbox.running(), shop.session() as session:
            assert await outbox.once(session, "till", "message 1")
            await outbox.record(session, OrderPlaced(1), about=1)
            await session.commit()
            await outbox.record(session, OrderPlaced(2), about=2)
            await session.commit()
        ids = await shop.rows(events.c.id, events.c.correlation_id, events.c.time)
        [(of_message,)] = await shop.rows(commands.c.id)

    assert {of_message, *(each for row in ids for each in row[:2])} == {*given.ids}
    assert {row.time for row in ids} == {NOON}
