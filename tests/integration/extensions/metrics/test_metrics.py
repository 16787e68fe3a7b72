"""What is told about a process and its database, on each database."""

import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.errors import InvalidValue
from aftercommit.extensions.metrics import process_health
from aftercommit.extensions.metrics.observer import MetricsObserver
from aftercommit.extensions.metrics.process_health import STALE_SECONDS, TEXT_SECONDS, Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.sql import tables
from aftercommit.sql.exceptions import DatabaseUnavailable
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Executable

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from tests.builders import a_batch, a_registration
from tests.later_schema import LATER

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, ...], float]

DELIVERIES = "allocation_deliveries"


def samples(text: bytes) -> Samples:
    """Return what Prometheus would store: names and labels, in the order they are written."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


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
    """One that has registered a user, and has left what follows to workers."""
    async with bootstrap(replace(settings, dispatch="worker")) as application:
        await application.bus.handle(a_registration())
        yield application


async def metrics_of(application: Application) -> Samples:
    """Return what is shown when the database has just been looked at."""
    probes = Probes(application, Shutdown(), 300.0)
    await probes.look(with_stats=True)
    return samples(probes.metrics())


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


async def test_what_a_process_has_done_is_told(settings: Settings) -> None:
    """And what it owes: nothing, of each handler in each state, which is said, too."""
    async with bootstrap(settings) as application:
        await application.bus.handle(a_batch())
        await application.bus.handle(a_registration())

        found = await metrics_of(application)

    assert found["allocation_commands_total", "register_user", "done"] == 1
    assert found["allocation_attempts_total", "send_welcome_email", "done"] == 1
    assert found["allocation_commit_to_settled_seconds_count", "send_coupon_email"] == 1
    assert found["allocation_attempt_duration_seconds_bucket", "log_registration", "+Inf"] == 1
    assert found["allocation_database_up",] == 1
    assert found["allocation_oldest_due_seconds",] == 0
    kept = 2 if settings.database_url.startswith("postgresql") else 0  # they claim and settle
    assert found["allocation_connections_in_use",] <= kept
    assert (
        found["allocation_connections_limit",] == settings.pool_size + 3 + kept
    )  # one listens, one notifies, one is for last writes
    states = ("scheduled", "due", "retrying", "running", "lease_expired", "paused", "parked")
    owed = {names[1:]: value for names, value in found.items() if names[0] == DELIVERIES}
    for_later = ("expire_coupon", "scheduled"), ("send_coupon_reminder", "scheduled")
    nothing = dict.fromkeys(product(application.handlers, states), 0)
    assert owed == nothing | dict.fromkeys(for_later, 1)


async def test_many_scrapes_in_a_second_get_one_text(application: Application) -> None:
    """Making it takes time from the work, and nobody knows how many scrapers there are."""
    now = 100.0
    probes = Probes(application, Shutdown(), 300.0, clock=lambda: now)
    await probes.look(with_stats=True)
    before = probes.metrics()
    await application.bus.handle(a_registration())
    now += TEXT_SECONDS / 2
    together = probes.metrics()
    now += TEXT_SECONDS / 2
    later = probes.metrics()

    assert together == before
    assert samples(later)["allocation_commands_total", "register_user", "done"] == 1


async def test_what_is_owed_is_told_by_handler_and_state(waiting: Application) -> None:
    """Whoever left it there, and in whatever state."""
    now = waiting.database.clock
    await change(waiting, "log_registration", available_at=now - 100)
    await change(waiting, "refresh_user_view", available_at=now + 100, owner="worker@host:1")
    await change(waiting, "send_welcome_email", parked_at=now)
    await change(waiting, "allocate_welcome_coupon", available_at=now + 100)
    found = await metrics_of(waiting)
    await change(waiting, "allocate_welcome_coupon", replay=True, available_at=now - 10_000)
    later = await metrics_of(waiting)

    assert {names[1:]: n for names, n in found.items() if names[0] == DELIVERIES and n} == {
        ("log_registration", "due"): 1,
        ("refresh_user_view", "running"): 1,
        ("send_welcome_email", "parked"): 1,
        ("allocate_welcome_coupon", "scheduled"): 1,
    }
    assert later[DELIVERIES, "allocate_welcome_coupon", "due"] == 1
    assert 100 <= found["allocation_oldest_due_seconds",] < 1000
    assert 100 <= later["allocation_oldest_due_seconds",] < 1000


async def test_what_is_paused_is_told_and_neither_late_nor_failing(waiting: Application) -> None:
    """A person wants it so; who it is, and since when, is told, too."""
    name = "send_welcome_email"
    late = waiting.database.clock - 9000
    await change(waiting, name, available_at=late, last_error="MailServerUnavailable: …")
    values = {"handler": name, "paused_at": 1000.0, "paused_by": "maria@host"}
    await execute(
        waiting,
        sa.insert(tables.handler_pauses).values(values),
        sa.update(tables.events).values(recorded_at=late),
    )
    found = await metrics_of(waiting)

    assert found[DELIVERIES, name, "paused"] == 1
    assert found["allocation_handler_paused_timestamp_seconds", name, "maria@host"] == 1000
    assert 0 <= found["allocation_oldest_due_seconds",] < 1000
    assert found["allocation_oldest_failing_seconds",] == 0
    assert found["allocation_oldest_unclaimable_seconds",] == 0


async def test_what_has_failed_for_hours_is_told(waiting: Application) -> None:
    """It is neither late, nor parked while a resource is away: nothing else would show it."""
    now = waiting.database.clock
    before = await metrics_of(waiting)
    await execute(waiting, sa.update(tables.events).values(recorded_at=now - 9000))
    nothing_failed = await metrics_of(waiting)
    failed = {"last_error": "MailServerUnavailable: …", "available_at": now + 1000}
    await change(waiting, "send_welcome_email", **failed)
    after = await metrics_of(waiting)
    await change(waiting, "send_welcome_email", parked_at=now)
    parked = await metrics_of(waiting)

    name = "allocation_oldest_failing_seconds"
    assert before[name,] == nothing_failed[name,] == parked[name,] == 0
    assert 9000 <= after[name,] < 10_000


STRANGE = [
    (tables.deliveries, {"handler": "send_sms"}),
    (tables.events, {"type": "user_vanished"}),
    (tables.events, {"schema_version": 99}),
]


@pytest.mark.parametrize(("table", "values"), STRANGE, ids=str)
async def test_what_no_program_here_can_do_makes_nobody_late(
    application: Application, table: sa.Table, values: dict[str, str | int]
) -> None:
    """No worker that runs helps: it is told as what it is, and takes nobody out of use."""
    found = Probes(application, Shutdown(), 300.0)
    await application.bus.handle(a_registration())
    an_hour_ago = application.database.clock - 3600
    await change(application, "log_registration", completed_at=None, available_at=an_hour_ago)
    before = await metrics_of(application)
    changed, late = sa.update(table).values(**values), tables.deliveries.c.completed_at.is_(None)
    await execute(application, changed.where(late) if table is tables.deliveries else changed)

    ready = await readiness(found)
    after = await metrics_of(application)

    assert 3600 <= before["allocation_oldest_due_seconds",] < 4000
    assert before["allocation_oldest_unclaimable_seconds",] == 0
    assert ready is None
    assert after["allocation_oldest_due_seconds",] == 0
    assert 3600 <= after["allocation_oldest_unclaimable_seconds",] < 4000
    assert after[DELIVERIES, str(values.get("handler", "log_registration")), "lease_expired"] == 1


async def test_without_a_database_the_rest_is_shown(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage is when somebody looks."""

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    await application.bus.handle(a_registration())
    monkeypatch.setattr(process_health, "readiness_error", away)

    found = await metrics_of(application)

    assert found["allocation_database_up",] == 0
    assert found["allocation_commands_total", "register_user", "done"] == 1
    assert not any(names[0] == DELIVERIES for names in found)


async def test_each_figure_is_shown_once_also_where_two_ports_show_it(
    application: Application,
) -> None:
    """That of `serve`, and that for metrics; Prometheus drops what is there twice."""
    await application.bus.handle(a_registration())
    await metrics_of(application)
    other = Probes(application, Shutdown(), 300.0)
    await other.look(with_stats=True)

    lines = [line for line in other.metrics().decode().splitlines() if not line.startswith("#")]
    shown = [line.rpartition(" ")[0] for line in lines]
    assert len(shown) == len(set(shown))


async def readiness(found: Probes) -> str | None:
    await found.look()
    return found.readiness_error()


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("allocation_0001", "the database schema of allocation is outdated"),
        ("aftercommit_0001", "the database schema of aftercommit is outdated"),
        ("allocation_9999", None),
        ("aftercommit_9999", None),
    ],
)
async def test_a_process_is_ready_when_others_upgrade_but_not_on_an_old_copy(
    application: Application, revision: str, told: str | None
) -> None:
    """An upgrade comes before the programs are replaced, and must not take all of them away."""
    found = Probes(application, Shutdown(), 300.0)
    for history in LATER:
        is_this = revision.startswith(f"{history.name}_")
        stored = revision if is_this else history.newest
        changed = f"UPDATE {history.version_table} SET version_num = '{stored}'"
        await execute(application, sa.text(changed))
    application.database.histories = LATER

    ready = await readiness(found)

    assert ready == told


async def test_a_process_is_not_ready_while_work_is_overdue(waiting: Application) -> None:
    """Nobody does it; what is replayed may wait."""
    found = Probes(waiting, Shutdown(), 300.0)
    now = waiting.database.clock
    await change(waiting, "log_registration", available_at=now - 200)
    await change(waiting, "refresh_user_view", available_at=now - 1000, replay=True)
    in_time = await readiness(found)
    await change(waiting, "log_registration", available_at=now - 400)
    overdue = await readiness(found)

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
        found = Probes(application, Shutdown(), 300.0, clock=lambda: now)
        await found.look(with_stats=True)
        monkeypatch.setattr(process_health, "readiness_error", silent)
        group.start_soon(found.look)
        await asked.wait()
        assert found.readiness_error() is None

        now += STALE_SECONDS + 1

        assert found.readiness_error() == "the database does not answer"
        assert samples(found.metrics())["allocation_database_up",] == 0
        group.cancel_scope.cancel()


async def test_an_event_loop_that_does_not_run_is_not_alive(application: Application) -> None:
    """Then nothing is done here any longer, and only a restart helps."""
    now = 0.0
    found = Probes(application, Shutdown(), 300.0, clock=lambda: now)
    assert found.liveness_error() is None

    now = 12.0

    assert found.liveness_error() == "the event loop has been blocked for 12 s"


async def test_nothing_is_collected_unless_somebody_can_read_it(settings: Settings) -> None:
    """Each command of the command line would else import what nobody uses."""
    async with bootstrap(replace(settings, of_extensions=())) as application:
        observers = application.bus.instrumentation.observers

    assert not any(isinstance(observer, MetricsObserver) for observer in observers)


async def test_a_library_that_is_missing_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "aftercommit.extensions.metrics.observer", None)

    with pytest.raises(InvalidValue, match=r"pip install 'aftercommit\[metrics\]'"):
        async with bootstrap(settings):
            pass
