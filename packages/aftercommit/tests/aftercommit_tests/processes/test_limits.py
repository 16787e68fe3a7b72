"""Limits of workers that are killed and frozen, in small: `limits_under_faults` is large."""

import pytest

from aftercommit_tests.processes.limits_under_faults import Run, a_database, try_it

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio")]

SMALL = Run(deliveries=120, at_once=2, per_minute=600, workers=3, kills=1, freezes=1)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_workers_that_die_and_freeze_keep_a_limit(kind: str) -> None:
    """The partner counts what runs at once, and the database the claims; nothing is lost."""
    with a_database(kind) as url:
        seen = await try_it(url, SMALL)

    assert seen.done == SMALL.deliveries
    assert seen.calls >= SMALL.deliveries
    assert 0 < seen.most <= SMALL.at_once
    assert seen.most_in_a_minute <= SMALL.per_minute
