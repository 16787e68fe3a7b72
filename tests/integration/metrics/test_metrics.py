"""What is told about a process and its database, on each database."""

import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from itertools import product

import anyio
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from allocation.adapters import orm
from allocation.adapters.exceptions import DatabaseUnavailable
from allocation.adapters.metrics.readings import Readings
from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.exceptions import InvalidValue
from allocation.entrypoints.metrics.exposition import CONTENT_TYPE, metrics_text
from allocation.entrypoints.metrics.serving import AddressUnavailable, Probes, answering
from allocation.entrypoints.metrics.settings import MetricsSettings
from allocation.entrypoints.running import StopSignal
from tests.builders import a_batch, a_registration

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, ...], float]

LIMIT_SECONDS = 60
DELIVERIES = "allocation_deliveries"


def samples(text: bytes) -> Samples:
    """Return what Prometheus would store: names and labels, in the order they are written."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def change(application: Application, handler: str, **values: object) -> None:
    """Change the delivery to a handler, from outside."""
    async with application.database.writing() as session:
        changed = sa.update(orm.deliveries).where(orm.deliveries.c.handler == handler)
        await session.execute(changed.values(**values))
        await session.commit()


async def test_what_a_process_has_done_is_told(settings: Settings) -> None:
    """And what it owes: nothing, of each handler in each state, which is said, too."""
    async with bootstrap(settings) as application:
        await application.bus.handle(a_batch())
        await application.bus.handle(a_registration())

        found = samples(await metrics_text(application))

    assert found["allocation_commands_total", "register_user", "done"] == 1
    assert found["allocation_attempts_total", "send_welcome_email", "done"] == 1
    assert found["allocation_commit_to_settled_seconds_count", "send_coupon_email"] == 1
    assert found["allocation_attempt_duration_seconds_bucket", "log_registration", "+Inf"] == 1
    assert found["allocation_database_up",] == 1
    assert found["allocation_oldest_due_seconds",] == 0
    assert found["allocation_connections_in_use",] == 0
    assert found["allocation_connections_limit",] == settings.pool_size + 1  # one listens
    states = ("in_hand", "replay", "due", "waiting", "parked")
    owed = {names[1:]: value for names, value in found.items() if names[0] == DELIVERIES}
    assert owed == dict.fromkeys(product(application.handlers, states), 0)


async def test_what_is_owed_is_told_by_handler_and_state(settings: Settings) -> None:
    """Whoever left it there, and in whatever state."""
    async with bootstrap(replace(settings, dispatch="worker")) as application:
        await application.bus.handle(a_registration())
        now = application.database.clock
        await change(application, "log_registration", due_at=now - 100)
        await change(application, "refresh_user_view", due_at=now + 100, process="worker@host:1")
        await change(application, "send_welcome_email", parked_at=now)
        await change(application, "allocate_welcome_coupon", due_at=now + 100)
        found = samples(await metrics_text(application))
        await change(application, "allocate_welcome_coupon", replay=True, due_at=now - 10_000)
        later = samples(await metrics_text(application))

    assert {names[1:]: n for names, n in found.items() if names[0] == DELIVERIES and n} == {
        ("log_registration", "due"): 1,
        ("refresh_user_view", "in_hand"): 1,
        ("send_welcome_email", "parked"): 1,
        ("allocate_welcome_coupon", "waiting"): 1,
    }
    assert later[DELIVERIES, "allocate_welcome_coupon", "replay"] == 1
    assert 100 <= found["allocation_oldest_due_seconds",] < 1000
    assert 100 <= later["allocation_oldest_due_seconds",] < 1000


STRANGE = [
    (orm.deliveries, {"handler": "send_sms"}),
    (orm.events, {"type": "user_vanished"}),
    (orm.events, {"schema_version": 99}),
]


@pytest.mark.parametrize(("table", "values"), STRANGE, ids=str)
async def test_what_no_program_here_can_do_makes_nobody_late(
    settings: Settings, table: sa.Table, values: dict[str, str | int]
) -> None:
    """No worker that runs helps: it is told as what it is, and takes nobody out of use."""
    async with pages(settings, StopSignal()) as (application, found):
        await application.bus.handle(a_registration())
        an_hour_ago = application.database.clock - 3600
        await change(application, "log_registration", finished_at=None, due_at=an_hour_ago)
        before = samples(await metrics_text(application))
        async with application.database.writing() as session:
            changed = sa.update(table).values(**values)
            late = orm.deliveries.c.finished_at.is_(None)
            await session.execute(changed.where(late) if table is orm.deliveries else changed)
            await session.commit()

        ready = await found.answer("/readyz")
        after = samples(await metrics_text(application))

    assert 3600 <= before["allocation_oldest_due_seconds",] < 4000
    assert before["allocation_oldest_stranger_seconds",] == 0
    assert ready.body == b"ready\n"
    assert after["allocation_oldest_due_seconds",] == 0
    assert 3600 <= after["allocation_oldest_stranger_seconds",] < 4000
    assert after[DELIVERIES, str(values.get("handler", "log_registration")), "due"] == 1


async def test_without_a_database_the_rest_is_told(settings: Settings) -> None:
    """An outage is when somebody looks."""

    async def away() -> Readings:
        raise DatabaseUnavailable("away")

    async with bootstrap(settings) as application:
        await application.bus.handle(a_registration())

        found = samples(await metrics_text(application, away))

    assert found["allocation_database_up",] == 0
    assert found["allocation_commands_total", "register_user", "done"] == 1


@asynccontextmanager
async def pages(
    settings: Settings, stop: StopSignal, *, patience: float = LIMIT_SECONDS
) -> AsyncIterator[tuple[Application, Probes]]:
    async with bootstrap(settings) as application, anyio.create_task_group() as group:
        yield application, Probes(MetricsSettings(), application, stop, group, patience=patience)
        group.cancel_scope.cancel()


async def test_each_page_is_found(settings: Settings) -> None:
    """As probes and scrapers ask for it."""
    async with pages(settings, StopSignal()) as (_, found):
        metrics = await found.answer("/metrics")
        alive, ready = await found.answer("/healthz"), await found.answer("/readyz")
        nothing = await found.answer("/")

    assert (metrics.status, metrics.content_type) == ("200 OK", CONTENT_TYPE)
    assert b"allocation_database_up 1" in metrics.body
    assert (alive.status, alive.body) == ("200 OK", b"alive\n")
    assert (ready.status, ready.body) == ("200 OK", b"ready\n")
    assert nothing.status == "404 Not Found"


async def test_a_process_that_stops_is_not_ready(settings: Settings) -> None:
    """But alive: what is in hand has to finish."""
    stop = StopSignal()
    async with pages(settings, stop) as (_, found):
        stop.set()

        ready, alive = await found.answer("/readyz"), await found.answer("/healthz")

    assert (ready.status, ready.body) == ("503 Service Unavailable", b"draining\n")
    assert alive.status == "200 OK"


@pytest.mark.parametrize(
    ("revision", "told"),
    [("allocation_0001", b"the database schema is outdated\n"), ("allocation_9999", b"ready\n")],
)
async def test_a_process_is_ready_when_others_upgrade_but_not_on_an_old_copy(
    settings: Settings, revision: str, told: bytes
) -> None:
    """An upgrade comes before the programs are replaced, and must not take all of them away."""
    async with pages(settings, StopSignal()) as (application, found):
        async with application.database.writing() as session:
            await session.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))
            await session.commit()

        ready = await found.answer("/readyz")

    assert ready.body == told


async def test_a_process_is_not_ready_while_work_is_overdue(settings: Settings) -> None:
    """Nobody does it; what is replayed may wait."""
    async with pages(replace(settings, dispatch="worker"), StopSignal()) as (application, found):
        await application.bus.handle(a_registration())
        now = application.database.clock
        await change(application, "log_registration", due_at=now - 200)
        await change(application, "refresh_user_view", due_at=now - 1000, replay=True)
        in_time = await found.answer("/readyz")
        await change(application, "log_registration", due_at=now - 400)
        overdue = await found.answer("/readyz")

    assert in_time.status == "200 OK"
    assert overdue.status == "503 Service Unavailable"
    assert re.fullmatch(rb"work is overdue for 4\d\d s: does a worker run\?\n", overdue.body)


async def test_a_database_that_says_nothing_makes_it_not_ready_in_a_moment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for the second who asks."""

    async def silent(_: object) -> bool:
        await anyio.sleep_forever()
        return True

    monkeypatch.setattr("allocation.entrypoints.metrics.serving.schema_is_outdated", silent)
    async with pages(settings, StopSignal(), patience=0.01) as (_, found):
        for _ in range(2):
            ready = await found.answer("/readyz")

            assert ready.body == b"the database does not answer\n"
        assert (await found.answer("/healthz")).status == "200 OK"


async def test_nobody_listens_unless_a_port_is_said(settings: Settings) -> None:
    """And one that is taken is refused, before any work is begun."""
    async with (
        bootstrap(settings) as application,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as taken,
    ):
        port = int(taken.extra(anyio.abc.SocketAttribute.local_port))
        async with answering(settings, application, StopSignal()):
            pass
        on_it = replace(settings, of_rooms=(MetricsSettings(metrics_port=port),))
        with pytest.raises(AddressUnavailable, match=f"^metrics .* on 127.0.0.1:{port}: "):
            async with answering(on_it, application, StopSignal()):
                pass


async def test_a_library_that_is_missing_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "allocation.entrypoints.metrics.exposition", None)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = int(server.getsockname()[1])
    asked_for = replace(settings, of_rooms=(MetricsSettings(metrics_port=port),))

    async with bootstrap(settings) as application:
        with pytest.raises(InvalidValue, match=r"install allocation\[metrics\]"):
            async with answering(asked_for, application, StopSignal()):
                pass
