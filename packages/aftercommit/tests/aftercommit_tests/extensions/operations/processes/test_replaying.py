"""A handler that was added later has run once for each past event, whoever was killed meanwhile."""

import pytest

from aftercommit_tests.processes import Installation, wait_until

LATER = ("aftercommit_tests.extensions.operations.processes.later",)
REPLAY = ("deliveries", "replay", "count_thing")
EVENTS = 400
KILLS = 3
FILL = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
INSERT INTO aftercommit_events (
    id, source, type, schema_version, subject, time, correlation_id, causation_id, data, recorded_at
)
SELECT {id}, '/things', 'thing_made', 1, 'subject', '2026-01-01 00:00:00', {id}, {id},
       '{{"thing_id":"00000000-0000-0000-0000-000000000001","name":"' || n || '"}}', n
FROM numbers
"""


def fill(installation: Installation) -> None:
    """Store events that everybody has done with, but for the handler that comes later."""
    is_postgres = bool(installation.postgres_url)
    new_id = "gen_random_uuid()" if is_postgres else "lower(hex(randomblob(16)))"
    installation.change(FILL.format(count=EVENTS, id=new_id))


@pytest.mark.timeout(120)
def test_a_handler_added_later_has_run_once_for_each_event(on_each: Installation) -> None:
    """Replay and worker are killed three times, in the middle of both."""
    fill(on_each)
    interrupted = 0

    for kill in range(1, KILLS + 1):
        with on_each.running("worker", module=LATER):
            with on_each.running(*REPLAY, module=LATER):
                wait_until(lambda: on_each.count("aftercommit_deliveries") >= kill * 60)  # noqa: B023
            interrupted += on_each.count("aftercommit_deliveries") < EVENTS
            wait_until(lambda: on_each.count("lines") >= kill * 30)  # noqa: B023
        on_each.end_leases()
    on_each.succeed(*REPLAY, module=LATER)
    on_each.succeed("worker", "--until-idle", module=LATER)

    assert on_each.lines == sorted(str(n) for n in range(1, EVENTS + 1))
    assert on_each.count("aftercommit_deliveries WHERE completed_at IS NULL") == 0
    assert interrupted
