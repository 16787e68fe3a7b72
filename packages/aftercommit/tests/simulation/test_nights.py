"""A year of nights with kills; ten of them: `python -m simulation.nights --years 10`."""

from datetime import UTC, datetime

import pytest

from simulation.nights import BERLIN, nights_after
from simulation.postgresql import running_server
from simulation.test_seeds import simulate

pytestmark = pytest.mark.check


def test_each_night_is_stored_once_whoever_is_killed() -> None:
    """By two to five workers; after days without any, only the latest."""
    told = simulate("--years", 0.2, "--seeds", 2, module="simulation.nights")

    assert told.count(": hold; ") == 2


def test_each_night_is_stored_once_on_postgresql() -> None:
    """There, workers that look at the same time wait for a row."""
    with running_server() as server:
        told = simulate("--years", 0.2, "--server", server, module="simulation.nights")

    assert told.count(": hold; ") == 1


def test_nights_are_where_clocks_are_changed() -> None:
    """At the end of the hour that is left out, and in the first of two equal hours."""
    begin = datetime(2026, 3, 28, 12, tzinfo=BERLIN).timestamp()
    spring = datetime.fromtimestamp(next(nights_after(begin)), UTC)
    begin = datetime(2026, 10, 24, 12, tzinfo=BERLIN).timestamp()
    autumn = datetime.fromtimestamp(next(nights_after(begin)), UTC)

    assert spring == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
