"""What docs/performance.md shows is what was measured; time itself is measured by no test."""

from collections.abc import Iterator

import pytest

from benchmarks import charts, results
from benchmarks.measuring import Contest, Effort, Way, in_turn, measure
from benchmarks.page import figure
from benchmarks.topics import TOPICS

EFFORT = Effort(full=False)


def test_every_chart_is_what_the_results_say() -> None:
    """A wrong picture is worse than none. If they have to be others: python -m benchmarks."""
    charts_now = charts.charts()

    drawn = {name: (charts.FOLDER / f"{name}.svg").read_text() for name in charts_now}
    assert drawn == charts_now


def test_every_topic_was_measured_and_is_shown() -> None:
    """What nobody looks at is not worth measuring."""
    page = (charts.FOLDER.parent / "performance.md").read_text()

    assert results.read().keys() >= TOPICS.keys()
    assert [name for name in TOPICS if f"generated: measured_{name} -->" not in page] == []
    assert [name for name in TOPICS if f"(performance/{name}.svg)" not in page] == []


def test_rounds_take_turns_and_nobody_is_always_first() -> None:
    """What begins finds the machine in another state than what follows."""
    order: list[str] = []

    def once(name: str) -> float:
        order.append(name)
        return 1.0

    figures = in_turn({"a": lambda: once("a"), "b": lambda: once("b")}, 3)

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert figures == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_ratio_is_that_of_one_round() -> None:
    """On a noisy machine the ratio of two medians is made of two different moments."""
    ours, theirs = _each(10.0, 1.0, 6.0), _each(10.0, 2.0, 4.0)
    way = Way(name="peer", once=lambda: next(theirs))

    [row] = measure(Contest(what="work", unit="/s", ours=lambda: next(ours), ways=[way]), EFFORT)

    assert (row.ours, row.theirs) == (6.0, 4.0)
    assert (row.ratio, row.lowest, row.highest) == (1.0, 0.5, 1.5)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(12345.6, "12,300"), (999.4, "999"), (42.26, "42.3"), (0.1234, "0.123")],
)
def test_figures_have_three_digits(number: float, shown: str) -> None:
    """More of them are noise."""
    assert figure(number) == shown


def _each(*figures: float) -> Iterator[float]:
    yield from figures
