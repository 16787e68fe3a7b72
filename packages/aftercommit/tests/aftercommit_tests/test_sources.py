"""Clock, ids and chance are arguments: with the same ones, the same is stored."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from aftercommit import Database, Outbox, Sources, on, open_application
from aftercommit.extensions.operations.decisions import Decision

from aftercommit_tests.builders import a_command
from aftercommit_tests.inside.operations import delivery_admin, redact_mentions
from aftercommit_tests.inside.stored import commands, decisions, events
from aftercommit_tests.outbox.orders import OrderPlaced, open_shop
from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.things.bell import RecordingBell
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


async def test_an_erasure_takes_new_ids_from_them(settings: Settings) -> None:
    """A message that has named somebody is called something else."""
    start_mappers()
    given = Given()
    opening = open_application(
        APP, settings, UnitOfWork, effect_ports={"bell": RecordingBell()}, sources=given.sources()
    )
    row = {"id": UUID(int=0), "type": "t", "source": "s", "message_id": "ann@example.com"}
    async with opening as application, application.database.write_transaction() as transaction:
        new = sa.insert(commands).values(correlation_id=UUID(int=0), accepted_at=0.0)
        await transaction.execute(new, row)
        await redact_mentions(transaction, ["ann@example.com"])
        renamed = (await transaction.execute(sa.select(commands.c.message_id))).scalar_one()

    assert renamed == f"erased-{given.ids[-1]}"


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
