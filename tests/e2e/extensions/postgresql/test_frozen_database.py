"""PostgreSQL, or somebody who uses it, is frozen: neither gone nor there. Nobody waits for ever."""

import signal
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from anyio.pytest_plugin import FreePortFactory

from tests.e2e.processes import LIMIT_SECONDS, Application, owed, stat_of, wait_until
from tests.proxy import Proxy, postgres_behind_a_proxy

SHORT = {
    "lease_seconds": "3",
    "handler_timeout_seconds": "2",
    "retry_initial_seconds": "0.2",
    "retry_max_seconds": "1",
    "max_attempts": "100",
    "dispatch": "worker",
}
ALLOCATION = "allocate_welcome_coupon"
FAILED_FOR_A_LOCK = (
    "SELECT * FROM aftercommit_deliveries WHERE last_error LIKE '%somebody else holds a lock%'"
)


@pytest.fixture
def on_postgres(application: Application, postgres_url: str) -> Application:
    """The application on PostgreSQL, with limits that a test can wait for."""
    return replace(application, postgres_url=postgres_url, settings=SHORT)


@pytest.fixture
def proxied(
    postgres_url: str, free_tcp_port_factory: FreePortFactory
) -> Iterator[tuple[str, Proxy]]:
    """The same database, behind a proxy."""
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port_factory()) as proxied:
        yield proxied


def register(application: Application, *emails: str) -> None:
    for email in emails:
        assert application.run("register-user", "Иван", email).returncode == 0


def test_a_worker_goes_on_when_its_silent_database_can_be_reached_again(
    on_postgres: Application, proxied: tuple[str, Proxy]
) -> None:
    """Its connections stay silent for ever; it gives them up, and opens others."""
    url, proxy = proxied
    with on_postgres.running("worker", database_url=url) as worker:
        register(on_postgres, "before@example.com")
        wait_until(lambda: not owed(on_postgres))
        proxy.freeze()
        assert proxy.asked_in_vain.wait(LIMIT_SECONDS)
        register(on_postgres, "during@example.com")
        proxy.open()

        wait_until(lambda: not owed(on_postgres))
        worker.send_signal(signal.SIGTERM)

        assert worker.wait(LIMIT_SECONDS) == 0


def test_a_worker_of_a_silent_database_ends_when_it_is_told_to(
    on_postgres: Application, proxied: tuple[str, Proxy]
) -> None:
    """A deployment must not wait for a server that does not answer; also with long limits."""
    url, proxy = proxied
    long = {
        "handler_timeout_seconds": "1000",
        "lease_seconds": "2000",
        "shutdown_grace_seconds": "1",
    }
    with on_postgres.running("worker", database_url=url, **long) as worker:
        register(on_postgres, "before@example.com")
        wait_until(lambda: not owed(on_postgres))
        proxy.freeze()
        assert proxy.asked_in_vain.wait(LIMIT_SECONDS)
        worker.send_signal(signal.SIGTERM)

        assert worker.wait(LIMIT_SECONDS) == 0


def test_a_frozen_process_holds_others_up_only_until_the_server_ends_its_transaction(
    on_postgres: Application,
) -> None:
    """It was stopped with a coupon in its hands, as one is whose host has lost its power."""
    module = (
        "tests.e2e.extensions.postgresql.freezing",
        "inside allocate_welcome_coupon, when it has written",
    )
    on_postgres.run("add-coupon-batch", "WELCOME", "10")
    register(on_postgres, "one@example.com", "two@example.com")
    with on_postgres.running("worker", module=module) as frozen:
        wait_until(lambda: is_stopped(frozen.pid))
        assert on_postgres.rows("SELECT count(*) FROM coupons") == [(0,)]

        with on_postgres.running("worker"):
            wait_until(lambda: not owed(on_postgres))

    assert on_postgres.rows("SELECT count(*), count(DISTINCT user_id) FROM coupons") == [(2, 2)]
    assert on_postgres.rows("SELECT remaining FROM coupon_batches") == [(8,)]


def test_a_row_that_a_person_has_locked_holds_up_only_what_needs_it(
    on_postgres: Application, postgres_url: str
) -> None:
    """They have looked at it and gone to lunch: that work is tried again, with the reason."""
    on_postgres.run("add-coupon-batch", "WELCOME", "10")
    with psycopg.connect(postgres_url) as person, on_postgres.running("worker") as worker:
        person.execute("SELECT * FROM coupon_batches FOR UPDATE")
        register(on_postgres, "one@example.com")

        wait_until(lambda: [each for each, _ in owed(on_postgres)] == [ALLOCATION])
        wait_until(lambda: on_postgres.rows(FAILED_FOR_A_LOCK))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(LIMIT_SECONDS) == 0

        person.rollback()
        assert on_postgres.run("worker", "--until-idle").returncode == 0
        assert owed(on_postgres) == []


def is_stopped(pid: int) -> bool:
    return stat_of(pid)[0] == "T"
