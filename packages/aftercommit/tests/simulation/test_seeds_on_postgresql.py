"""Worlds that a seed draws, on PostgreSQL: whatever breaks in them, the promises hold."""

from collections.abc import Iterator

import pytest

from simulation.postgresql import running_server
from simulation.schedules import PARTS
from simulation.test_seeds import simulate

pytestmark = pytest.mark.check

SEEDS = 8  # half of them in each way of writing
TWICE = 2


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that does nothing by itself."""
    with running_server() as url:
        yield url


def test_promises_hold_on_postgresql(server: str) -> None:
    """Crashes, freezes, cut wires, outages, waits for locks, time-outs: all by seed."""
    first = simulate(1, SEEDS, "--server", server, "--digests")

    assert f"{SEEDS} seeds, 0 failed" in first
    again = simulate(1, TWICE, "--server", server, "--digests")
    assert again.splitlines()[:TWICE] == first.splitlines()[:TWICE], "a story differs"


@pytest.mark.parametrize("part", PARTS)
def test_what_was_found_once_does_not_return_on_postgresql(part: int, server: str) -> None:
    """Schedules that are written down; some are about what only a server does."""
    told = simulate("--part", part, "--server", server, module="simulation.schedules")
    assert ": holds" in told
