"""PostgreSQL, or somebody who uses it, is frozen: neither gone nor there. Nobody waits forever."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from anyio.pytest_plugin import FreePortFactory

from aftercommit_tests.processes import LIMIT_SECONDS, Installation, owed, stat_of, stop, wait_until
from aftercommit_tests.proxy import Proxy, postgres_behind_a_proxy

pytestmark = [pytest.mark.on("asyncio"), pytest.mark.check]

SHORT = {
    "lease_seconds": "3",
    "handler_timeout_seconds": "2",
    "retry_initial_seconds": "0.2",
    "retry_max_seconds": "1",
    "max_attempts": "100",
    "dispatch": "worker",
}
LONG = {"handler_timeout_seconds": "1000", "lease_seconds": "2000", "shutdown_grace_seconds": "1"}
FAILED_FOR_A_LOCK = "aftercommit_deliveries WHERE last_error LIKE '%another session holds a lock%'"


@pytest.fixture
def things(tmp_path: Path, postgres_url: str, backend: str) -> Installation:
    """The application on PostgreSQL, with limits that a test can wait for."""
    return Installation(tmp_path, postgres_url, backend, {**SHORT})


@pytest.fixture
def proxied(
    postgres_url: str, free_tcp_port_factory: FreePortFactory
) -> Iterator[tuple[str, Proxy]]:
    """The same database, behind a proxy."""
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port_factory()) as proxied:
        yield proxied


def test_a_worker_goes_on_when_its_silent_database_can_be_reached_again(
    things: Installation, proxied: tuple[str, Proxy]
) -> None:
    """Its connections stay silent forever; it gives them up, and opens others."""
    url, proxy = proxied
    with things.running("worker", database_url=url) as worker:
        things.succeed("make-thing", "before")
        wait_until(lambda: not owed(things))
        proxy.freeze()
        assert proxy.asked_in_vain.wait(LIMIT_SECONDS)
        things.succeed("make-thing", "during")
        proxy.open()

        wait_until(lambda: not owed(things))
        assert stop(worker) == 0


@pytest.mark.on("trio")
def test_a_worker_of_a_silent_database_ends_when_it_is_told_to(
    things: Installation, proxied: tuple[str, Proxy]
) -> None:
    """A deployment must not wait for a server that does not answer; also with long limits."""
    url, proxy = proxied
    with things.running("worker", database_url=url, **LONG) as worker:
        things.succeed("make-thing", "before")
        wait_until(lambda: not owed(things))
        proxy.freeze()
        assert proxy.asked_in_vain.wait(LIMIT_SECONDS)

        assert stop(worker) == 0


def test_a_frozen_process_holds_others_up_only_until_the_server_ends_its_transaction(
    things: Installation,
) -> None:
    """It was stopped when it had written, as one is whose host has lost its power."""
    module = (things.crashing, "--freeze", "in the commit of write_down")
    things.succeed("make-things", "2")
    with things.running("worker", module=module) as frozen:
        wait_until(lambda: stat_of(frozen.pid)[0] == "T")
        assert things.lines == []

        with things.running("worker"):
            wait_until(lambda: not owed(things))

    assert things.lines == ["thing 1", "thing 2"]


@pytest.mark.on("trio")
def test_what_a_person_has_locked_holds_up_only_those_who_need_it(
    things: Installation, postgres_url: str
) -> None:
    """They have looked at it and gone to lunch: that work is tried again, with the reason."""
    with psycopg.connect(postgres_url) as person, things.running("worker") as worker:
        person.execute("LOCK TABLE lines IN EXCLUSIVE MODE")
        things.succeed("make-thing", "lamp")

        wait_until(lambda: [handler for handler, _ in owed(things)] == ["write_down"])
        wait_until(lambda: things.count(FAILED_FOR_A_LOCK))
        assert stop(worker) == 0

        person.rollback()
        things.succeed("worker", "--until-idle")
        assert owed(things) == []
