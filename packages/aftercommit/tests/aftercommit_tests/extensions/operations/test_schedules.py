"""Schedules as operators see them: when they come, that one is late, that one was removed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from aftercommit import Every, Outbox, command_line, on
from click.testing import CliRunner, Result

from aftercommit_tests.builders import a_thing_id
from aftercommit_tests.command_line import own_logging
from aftercommit_tests.inside.operations import queue_metrics, retention
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.world import World

THING = a_thing_id()
HOURLY = Every("hourly", "0 * * * *", lambda at: ThingMade(thing_id=THING, name=f"{at:%H:%M}"))


@dataclass(frozen=True)
class NightHasCome:
    """It is night."""

    night: str


async def tell(event: NightHasCome) -> None:
    """Have no effect."""


def nightly(name: str = "nightly", **changed: str) -> Every[NightHasCome]:
    return Every(name, "0 3 * * *", lambda at: NightHasCome(str(at)), **changed)


def ran(folder: Path, *arguments: str, every: list[Every[NightHasCome]], loop: str) -> Result:
    """Run a command of a shop with these schedules."""
    url = f"sqlite:///{folder}/shop.db"
    shop = Outbox("shop", url, [on(NightHasCome, tell)], every=every, event_loop=loop)
    with own_logging():
        return CliRunner().invoke(command_line(shop.app), arguments, catch_exceptions=False)


@pytest.mark.on("asyncio", "trio")
def test_a_schedule_is_seen_from_its_beginning_to_its_end(tmp_path: Path, backend: str) -> None:
    """What has not begun, what comes next, what was renamed, and what a release has removed."""

    def shows(*arguments: str, every: list[Every[NightHasCome]]) -> str:
        result = ran(tmp_path, *arguments, every=every, loop=backend)
        assert result.exit_code == 0, result.output
        return result.output

    one = [nightly()]
    shows("db", "upgrade", every=one)
    before = "nightly: has not begun: it begins when a worker first runs; serve alone is no worker"
    assert before in shows("check", every=one)
    shows("worker", "--until-idle", every=one)
    assert "nightly: next " in shows("check", every=one)
    listed = shows("schedules", "list", every=one)
    assert "nightly                   0 3 * * *  UTC  next " in listed
    assert "T03:00+0000, none has come yet\n" in listed
    [told] = map(json.loads, shows("schedules", "list", "--json", every=one).splitlines())
    assert (told["name"], told["late_seconds"], told["last_at"]) == ("nightly", 0, None)

    other = [nightly("each night", tz="Asia/Tokyo")]
    removed = shows("check", every=other)
    assert "schedule nightly, last " in removed
    assert "renamed? Keep it with Every(…, renamed='nightly'), or forget it" in removed
    renamed = shows("check", every=[nightly("each night", renamed="nightly")])
    assert "each night: next " in renamed
    assert "unknown" not in renamed

    known = ran(tmp_path, "schedules", "forget", "nightly", every=one, loop=backend)
    assert known.exit_code == 1
    assert "'nightly' is not stored, or is not removed; there is no such schedule" in known.output
    assert "nightly is forgotten" in shows("schedules", "forget", "nightly", every=other)
    assert "forget" in shows("deliveries", "decisions", every=other)
    assert "schedule nightly" not in shows("check", every=other)


async def told_by_metrics(world: World) -> Mapping[str, float]:
    found = await queue_metrics(world.database, world.application.handlers, every=[HOURLY])
    named = [family for family in found if family.name.startswith("things_schedule")]
    assert all(
        sample.labels == {"schedule": "hourly"} for family in named for sample in family.samples
    )
    return {
        sample.name.removeprefix("things_schedule_"): sample.value
        for family in named
        for sample in family.samples
    }


@pytest.mark.anyio
@pytest.mark.on("asyncio-postgres", "trio-sqlite")
async def test_a_time_that_no_worker_has_stored_is_late(world: World) -> None:
    """An alert says so, since nothing else does: there is no delivery yet."""
    world.every = [HOURLY]
    world.wire()
    assert await told_by_metrics(world) == {}
    await world.schedules().store_due()  # at 13:46:40
    assert await told_by_metrics(world) == {"late_seconds": 0, "missed_times": 0}

    await world.move_clock(2 * 3600)

    assert await told_by_metrics(world) == {"late_seconds": 6400, "missed_times": 0}
    await world.schedules().store_due()
    assert await told_by_metrics(world) == {"late_seconds": 0, "missed_times": 1}


@pytest.mark.anyio
@pytest.mark.on("asyncio-postgres", "trio-sqlite")
async def test_what_is_pruned_does_not_come_again(world: World) -> None:
    """The row stays: it is not in the history, so nothing is stored twice because of it."""
    world.every = [HOURLY]
    world.wire()
    await world.schedules().store_due()
    await world.move_clock(3600)
    assert (await world.schedules().store_due())[1]
    await world.execute(tables.deliveries.update().values(completed_at=1.0, available_at=None))
    await world.move_clock(600)

    assert await retention.prune(world.database, older_than=60, pause=0) == 1

    assert await world.event_ids() == set()
    assert (await world.schedules().store_due())[1] is False
