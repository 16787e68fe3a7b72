"""Workers that are killed by the kernel store each time once; the simulation kills more of them."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from aftercommit import testing
from sqlalchemy import make_url

from aftercommit_tests.processes import hourly_worker, wait_until

pytestmark = pytest.mark.check

TESTS = Path(__file__).parents[2]
ROUNDS, WORKERS = 4, 3
LAST = "SELECT last_at FROM aftercommit_schedules"
AN_HOUR_AGO = "UPDATE aftercommit_schedules SET last_at = last_at - 3600"
COUNT = "SELECT count(*) FROM aftercommit_events"


@contextmanager
def a_worker(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until it is killed."""
    found = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen([sys.executable, "-m", hourly_worker.MODULE, url], env=found)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.on("sqlite", "postgres")
def test_of_workers_that_are_killed_at_any_moment_one_stores_a_time(
    empty_url: str,
) -> None:
    """One after the other dies; whoever is left stores what none of the dead has stored."""
    testing.migrate(hourly_worker.shop(empty_url).app, empty_url)
    url = make_url(empty_url)
    driver = "postgresql+psycopg" if url.get_backend_name() == "postgresql" else "sqlite"
    engine = sa.create_engine(url.set(drivername=driver))

    def ask(statement: str) -> float | None:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement))
            return result.scalar() if result.returns_rows else None

    with a_worker(empty_url):
        wait_until(lambda: ask(LAST) is not None)
    begun = time.time()

    for number in range(1, ROUNDS + 1):
        ask(AN_HOUR_AGO)
        with ExitStack() as stack:
            workers = [stack.enter_context(a_worker(empty_url)) for _ in range(WORKERS)]
            for worker in workers[1:]:
                time.sleep(random.uniform(0, 1))
                worker.kill()
            wait_until(lambda: (ask(LAST) or 0) >= time.time() // 3600 * 3600)
        passed = int(time.time() // 3600 - begun // 3600)

        assert number <= (ask(COUNT) or 0) <= number + passed
    engine.dispose()
