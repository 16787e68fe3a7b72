"""What is told about a process and its database, on each database."""

import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import metadata
from itertools import product
from platform import python_version

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Application, History, InvalidValue
from aftercommit.process.running_services import Shutdown
from anyio import to_thread
from sqlalchemy import Executable

from aftercommit_tests.builders import a_command
from aftercommit_tests.extensions.metrics.samples import (
    MAX_LAG_SECONDS,
    metrics_of,
    overdue,
    samples,
)
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.metrics import (
    STALE_SECONDS,
    TEXT_SECONDS,
    Probes,
    observer,
    process_health,
)
from aftercommit_tests.inside.settings import MetricsSettings
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.later_schema import LATER
from aftercommit_tests.things.app import Settings, bootstrap

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

DELIVERIES = "things_deliveries"
VERSIONS = metadata.version("aftercommit"), python_version()
FAILED = {"last_error": "BellIsAway: …"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Metrics are collected, without a port."""
    return replace(settings, of_extensions=(MetricsSettings(collect_metrics=True),))


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    """One that has done nothing."""
    async with bootstrap(settings) as application:
        yield application


@pytest.fixture
async def waiting(settings: Settings) -> AsyncIterator[Application]:
    """One that has made a thing, and has left what follows to workers."""
    async with bootstrap(replace(settings, dispatch="worker")) as application:
        await application.bus.handle(a_command())
        yield application


@pytest.fixture
def probes(application: Application) -> Probes:
    """What is known of it."""
    return Probes(application, Shutdown(), MAX_LAG_SECONDS)


async def execute(application: Application, *statements: Executable) -> None:
    """Change the database from outside."""
    async with application.database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(statement)
        await transaction.commit()


async def change(application: Application, handler: str, **values: object) -> None:
    """Change the delivery to a handler, from outside."""
    changed = sa.update(tables.deliveries).where(tables.deliveries.c.handler == handler)
    await execute(application, changed.values(**values))


async def readiness(probes: Probes) -> str | None:
    await probes.look()
    return probes.readiness_error()


async def test_what_a_process_has_done_is_told(
    settings: Settings, application: Application
) -> None:
    """And what it owes: nothing, of each handler in each state, which is said, too."""
    await application.bus.handle(a_command())

    found = await metrics_of(application)

    assert found["things_commands_total", "make_thing", "done"] == 1
    assert found["things_attempts_total", "announce", "done"] == 1
    assert found["things_commit_to_settled_seconds_count", "praise"] == 1
    assert found["things_attempt_duration_seconds_bucket", "write_down", "+Inf"] == 1
    assert found["things_database_up",] == 1
    assert overdue(found) == {}
    kept = 2 if settings.database_url.startswith("postgresql") else 0  # they claim and complete
    assert found["things_connections_in_use",] <= kept
    # one listens, one notifies, one is for last writes
    assert found["things_connections_limit",] == settings.pool_size + 3 + kept
    waiting = ("scheduled", "due", "retrying", "running", "lease_expired")
    states = (*waiting, "paused", "blocked", "parked")
    owed = {names[1:]: value for names, value in found.items() if names[0] == DELIVERIES}
    nothing = dict.fromkeys(product(application.handlers, states), 0)
    assert owed == nothing | {("forget", "scheduled"): 1}


async def test_what_may_be_counted_is_0_from_the_start(application: Application) -> None:
    """Prometheus takes no first value for an increase: an alert would miss the first failure."""
    found = await metrics_of(application)

    for outcome in ("done", "refused", "failed", "repeated", "cancelled"):
        assert found["things_commands_total", "make_thing", outcome] == 0
    for outcome, handler in product(
        ("done", "retried", "parked", "lease_lost", "handed_over"), application.handlers
    ):
        assert found["things_attempts_total", handler, outcome] == 0


async def test_the_versions_and_the_process_are_told(application: Application) -> None:
    """Which release is it that grows? The names of the process's own are those of all programs."""
    found = await metrics_of(application)
    descriptors = found["process_open_fds",]

    assert found["things_build_info", *VERSIONS, ""] == 1
    assert found["process_resident_memory_bytes",] > 10**6
    assert 0 < descriptors < found["process_max_fds",]


async def test_many_scrapes_in_a_second_get_one_text(application: Application) -> None:
    """Making it takes time from the work, and nobody knows how many scrapers there are."""
    now = 100.0
    probes = Probes(application, Shutdown(), MAX_LAG_SECONDS, clock=lambda: now)
    await probes.look(with_stats=True)
    before = await to_thread.run_sync(probes.metrics)
    await application.bus.handle(a_command())
    await metrics_of(application)  # by another port
    now += TEXT_SECONDS / 2
    together = await to_thread.run_sync(probes.metrics)
    now += TEXT_SECONDS / 2
    later = await to_thread.run_sync(probes.metrics)

    assert together == before
    assert samples(later)["things_commands_total", "make_thing", "done"] == 1
    lines = [line for line in later.decode().splitlines() if not line.startswith("#")]
    shown = [line.rpartition(" ")[0] for line in lines]
    assert len(shown) == len(set(shown))  # Prometheus drops what is there twice


async def test_what_is_owed_is_told_by_handler_and_state(waiting: Application) -> None:
    """Anyone who left it there, and in whatever state; what is replayed may wait."""
    now = waiting.database.clock
    await change(waiting, "write_down", available_at=now - 100)
    await change(waiting, "look_at", available_at=now + 100, owner="worker@host:1")
    await change(waiting, "announce", parked_at=now)
    await change(waiting, "polish", available_at=now + 100)
    found = await metrics_of(waiting)
    await change(waiting, "polish", replay=True, available_at=now - 10_000)
    later = await metrics_of(waiting)

    assert {names[1:]: n for names, n in found.items() if names[0] == DELIVERIES and n} == {
        ("write_down", "due"): 1,
        ("look_at", "running"): 1,
        ("announce", "parked"): 1,
        ("polish", "scheduled"): 1,
        ("forget", "scheduled"): 1,
    }
    assert later[DELIVERIES, "polish", "due"] == 1
    assert [*overdue(found)] == [*overdue(later)] == ["write_down"]
    assert 100 <= overdue(found)["write_down"] <= overdue(later)["write_down"] < 1000
    assert found["things_oldest_due_seconds", "polish"] == 0  # of each handler something is told


async def test_what_is_delayed_is_late_only_after_its_time(waiting: Application) -> None:
    """However old its event is: how late it is counts from when it is due."""
    now, long_ago = waiting.database.clock, waiting.database.clock - 10**6
    others = sa.delete(tables.deliveries).where(tables.deliveries.c.handler != "forget")
    await execute(waiting, others, sa.update(tables.events).values(recorded_at=long_ago))
    await change(waiting, "forget", available_at=now + 60)
    waits = await metrics_of(waiting)
    await change(waiting, "forget", available_at=now - 60)
    late = await metrics_of(waiting)

    assert overdue(waits) == {}
    assert 60 <= overdue(late)["forget"] < 1000


async def test_what_is_paused_is_told_and_neither_late_nor_failing(waiting: Application) -> None:
    """An operator wants it so; who it is, and since when, is told, too."""
    late = waiting.database.clock - 9000
    await change(waiting, "announce", available_at=late, **FAILED)
    values = {"handler": "announce", "paused_at": 1000.0, "paused_by": "maria@host\x1b" + "x" * 300}
    await execute(
        waiting,
        sa.insert(tables.handler_pauses).values(values),
        sa.update(tables.events).values(recorded_at=late),
    )
    found = await metrics_of(waiting)

    assert found[DELIVERIES, "announce", "paused"] == 1
    by = "maria@host\\u001b" + "x" * 189  # as much as there is room for, and nothing else
    assert found["things_handler_paused_timestamp_seconds", "announce", by] == 1000
    assert max(overdue(found).values()) < 1000
    assert found["things_oldest_failing_seconds",] == 0
    assert found["things_oldest_unclaimable_seconds",] == 0


async def test_what_has_failed_for_hours_is_told(waiting: Application) -> None:
    """It is neither late, nor parked while a resource is down: nothing else would show it."""
    now = waiting.database.clock
    await execute(waiting, sa.update(tables.events).values(recorded_at=now - 9000))
    nothing_failed = await metrics_of(waiting)
    await change(waiting, "announce", available_at=now + 1000, **FAILED)
    failing = await metrics_of(waiting)
    await change(waiting, "announce", parked_at=now)
    parked = await metrics_of(waiting)

    name = "things_oldest_failing_seconds"
    assert nothing_failed[name,] == parked[name,] == 0
    assert 9000 <= failing[name,] < 10_000


STRANGER = "send_sms"
STRANGE = [
    (tables.deliveries, {"handler": STRANGER}),
    (tables.events, {"type": "thing_vanished"}),
    (tables.events, {"schema_version": 99}),
]


@pytest.mark.parametrize(("table", "values"), STRANGE, ids=str)
async def test_what_no_program_here_can_do_makes_nobody_late(
    application: Application, probes: Probes, table: sa.Table, values: dict[str, str | int]
) -> None:
    """No worker that runs helps: it is told as what it is, and takes nobody out of use."""
    await application.bus.handle(a_command())
    an_hour_ago = application.database.clock - 3600
    await change(application, "write_down", completed_at=None, available_at=an_hour_ago)
    before = await metrics_of(application)
    of_this = sa.update(table).values(**values)
    if table is tables.deliveries:
        of_this = of_this.where(tables.deliveries.c.handler == "write_down")
    await execute(application, of_this)

    assert await readiness(probes) is None
    after = await metrics_of(application)

    assert 3600 <= overdue(before)["write_down"] < 4000
    assert before["things_oldest_unclaimable_seconds",] == 0
    assert overdue(after) == {}
    assert 3600 <= after["things_oldest_unclaimable_seconds",] < 4000
    unknown, is_unknown = "things_unknown_handler_deliveries", table is tables.deliveries
    assert after.get((unknown, STRANGER)) == (1 if is_unknown else None)
    assert after[unknown, "write_down"] == before[unknown, "write_down"] == 0
    assert after[DELIVERIES, str(values.get("handler", "write_down")), "lease_expired"] == 1


async def test_without_a_database_the_rest_is_shown(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage is when somebody looks."""

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    await application.bus.handle(a_command())
    monkeypatch.setattr(process_health, "readiness_error", away)

    found = await metrics_of(application)

    assert found["things_database_up",] == 0
    assert found["things_commands_total", "make_thing", "done"] == 1
    assert not any(names[0] == DELIVERIES for names in found)


@pytest.mark.parametrize("later", LATER, ids=lambda history: history.name)
async def test_a_process_is_ready_when_others_upgrade_but_not_on_an_old_copy(
    application: Application, probes: Probes, later: History
) -> None:
    """An upgrade comes before the programs are replaced, and must not take all of them away."""
    [other] = [each for each in application.database.histories if each.name != later.name]
    application.database.histories = other, later
    on_an_old_copy = await readiness(probes)
    newer = f"UPDATE {later.version_table} SET version_num = '{later.name}_9999'"
    await execute(application, sa.text(newer))
    when_others_upgrade = await readiness(probes)

    assert on_an_old_copy == f"the database schema of {later.name} is outdated"
    assert when_others_upgrade is None


async def test_a_process_is_not_ready_while_work_is_overdue(waiting: Application) -> None:
    """Nobody does it; what is replayed may wait."""
    probes, now = Probes(waiting, Shutdown(), MAX_LAG_SECONDS), waiting.database.clock
    await change(waiting, "write_down", available_at=now - 200)
    await change(waiting, "look_at", available_at=now - 1000, replay=True)
    in_time = await readiness(probes)
    await change(waiting, "write_down", available_at=now - 400)
    overdue = await readiness(probes)

    assert in_time is None
    assert re.fullmatch(r"work is overdue for 4\d\d s: does a worker run\?", str(overdue))


async def test_a_database_that_says_nothing_makes_it_not_ready(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And keeps nobody waiting who asks, also for metrics."""
    asked, now = anyio.Event(), 0.0

    async def silent(*_: object) -> None:
        asked.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        probes = Probes(application, Shutdown(), MAX_LAG_SECONDS, clock=lambda: now)
        await probes.look(with_stats=True)
        monkeypatch.setattr(process_health, "readiness_error", silent)
        group.start_soon(probes.look)
        await asked.wait()
        assert probes.readiness_error() is None

        now += STALE_SECONDS + 1

        assert probes.readiness_error() == "the database does not answer"
        assert samples(await to_thread.run_sync(probes.metrics))["things_database_up",] == 0
        group.cancel_scope.cancel()


async def test_an_event_loop_that_does_not_run_is_not_alive(application: Application) -> None:
    """Then nothing is done here any longer, and only a restart helps."""
    now = 0.0
    probes = Probes(application, Shutdown(), MAX_LAG_SECONDS, clock=lambda: now)
    assert probes.liveness_error() is None

    now = 12.0

    assert probes.liveness_error() == "the event loop has been blocked for 12 s"


async def test_metrics_need_somebody_who_reads_them_and_their_library(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command would else import what nobody uses; what is missing is named with its extra."""
    monkeypatch.setitem(sys.modules, observer.__name__, None)

    async with bootstrap(replace(settings, of_extensions=())):
        pass
    with pytest.raises(InvalidValue, match=r'pip install "aftercommit\[metrics\]"'):
        async with bootstrap(settings):
            pass
