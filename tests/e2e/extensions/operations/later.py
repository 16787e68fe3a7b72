"""Runs the application with one more handler of UserRegistered, as if it had been added later.

    python -m tests.e2e.extensions.operations.later ARGUMENTS…

What it replays, it replays in small batches, so that there is more to kill.
"""

import sys

from aftercommit.extensions.operations import batched_transactions

from allocation.domain.events import UserRegistered
from allocation.entrypoints.cli import cli
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.unit_of_work import UnitOfWork

FEW = 10
FILL = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
INSERT INTO aftercommit_events (
    id, source, type, schema_version, subject, time, correlation_id, causation_id, data, recorded_at
)
SELECT {id}, '/allocation', 'user_registered', 2, 'subject', '2026-01-01 00:00:00', {id}, {id},
       '{{"user_id":"00000000-0000-0000-0000-000000000001","name":"U","email":"u' || n
           || '@example.com"}}', n
FROM numbers
"""


def filling(count: int, *, is_postgres: bool) -> str:
    """Return the SQL that stores so many events, which everybody else has done with."""
    new_id = "gen_random_uuid()" if is_postgres else "lower(hex(randomblob(16)))"
    return FILL.format(count=count, id=new_id)


async def count_user(event: UserRegistered, uow: UnitOfWork) -> None:
    """Add a line for each time that it takes effect."""
    await uow.registration_log.append(event.user_id, event.email)


if __name__ == "__main__":
    TABLE.events[UserRegistered] = (*TABLE.events[UserRegistered], count_user)
    batched_transactions.BATCH_ROWS = FEW
    cli(sys.argv[1:])
