"""What holds for deliveries on each database, over psycopg on asyncio: the same suites once more.

Elsewhere, PostgreSQL on asyncio is asyncpg, and psycopg is on Trio, in threads.
"""

import pytest

from aftercommit_tests.test_aggregates_contract import *  # noqa: F403
from aftercommit_tests.test_claims_contract import *  # noqa: F403
from aftercommit_tests.test_completing_contract import *  # noqa: F403
from aftercommit_tests.test_delayed_and_paused_contract import *  # noqa: F403
from aftercommit_tests.test_failed_attempts_contract import *  # noqa: F403
from aftercommit_tests.test_index_of_claims_contract import *  # noqa: F403
from aftercommit_tests.test_schedules_contract import *  # noqa: F403
from aftercommit_tests.test_transactions import (  # noqa: F401
    test_a_command_is_stored_or_raised_wherever_it_is_cancelled,
    test_a_commit_that_fails_leaves_no_transaction_behind,
    test_a_failure_that_a_handler_swallows_is_raised_by_its_commit,
    test_a_handler_cannot_end_the_transaction_of_its_unit_of_work,
    test_a_task_that_outlives_a_handler_changes_nothing,
)
from aftercommit_tests.test_unit_of_work_contract import *  # type: ignore[assignment]  # noqa: F403

pytestmark = [pytest.mark.anyio, pytest.mark.check]


@pytest.fixture
def place() -> tuple[str, str]:
    return "asyncio", "psycopg"
