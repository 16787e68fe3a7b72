"""A handler that was added later has run once for each past event, whoever was killed meanwhile."""

from collections import Counter

import pytest

from tests.e2e.extensions.operations.later import filling
from tests.e2e.processes import TIMEOUT_SECONDS, Application, wait_until

LATER = ("tests.e2e.extensions.operations.later",)
EVENTS = 400
KILLS = 3
REPLAY = ("deliveries", "replay", "count_user")


def fill(application: Application, count: int) -> None:
    """Store events that everybody has done with, but for the handler that comes later."""
    application.change(filling(count, is_postgres=bool(application.postgres_url)))


def wait_for(application: Application, table: str, rows: int) -> None:
    count = f"SELECT count(*) FROM {table}"
    wait_until(lambda: application.rows(count)[0][0] >= rows)


@pytest.mark.timeout(120)
def test_a_handler_added_later_has_run_once_for_each_event(on_each: Application) -> None:
    """Replay and worker are killed three times, in the middle of both."""
    application = on_each
    fill(application, EVENTS)
    interrupted = 0

    for kill in range(1, KILLS + 1):
        with application.running("worker", module=LATER):
            with application.running(*REPLAY, module=LATER):
                wait_for(application, "aftercommit_deliveries", kill * 60)
            interrupted += application.rows("SELECT count(*) FROM aftercommit_deliveries") < [
                (EVENTS,)
            ]
            wait_for(application, "registration_log", kill * 30)
        application.end_leases()
    replay = application.start(*REPLAY, module=LATER)
    _, errors = replay.communicate(timeout=TIMEOUT_SECONDS)
    assert (replay.returncode, errors) == (0, "")
    worker = application.start("worker", "--until-idle", module=LATER)
    worker.communicate(timeout=TIMEOUT_SECONDS)

    assert worker.returncode == 0
    emails = Counter(email for (email,) in application.rows("SELECT email FROM registration_log"))
    assert emails == Counter(f"u{n}@example.com" for n in range(1, EVENTS + 1))
    assert application.rows(
        "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL"
    ) == [(0,)]
    assert interrupted
