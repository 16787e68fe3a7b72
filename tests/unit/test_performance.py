"""What docs/performance.md shows is what was measured; time itself is measured by no test."""

from collections.abc import Iterator

import pytest

from benchmarks import charts, results
from benchmarks.measuring import Contest, Effort, Goal, Way, in_turn, measure
from benchmarks.page import figure
from benchmarks.topics import TOPICS

EFFORT = Effort(full=False)


def test_every_chart_is_what_the_results_say() -> None:
    """A wrong picture is worse than none. If they have to be others: python -m benchmarks."""
    drawn = {name: (charts.FOLDER / f"{name}.svg").read_text() for name in charts.charts()}

    assert drawn == charts.charts()


def test_every_topic_was_measured() -> None:
    """A goal that nobody looks at is none. The page itself is tested with the other pages."""
    assert {topic.name for topic in TOPICS} <= results.read().keys()


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
    way = Way(name="peer", once=lambda: next(theirs), goal=Goal(1.0))

    [row] = measure(Contest(what="work", unit="/s", ours=lambda: next(ours), ways=[way]), EFFORT)

    assert (row.ours, row.theirs) == (6.0, 4.0)
    assert (row.ratio, row.lowest, row.highest) == (1.0, 0.5, 1.5)
    assert row.is_met


def test_what_is_not_installed_is_said_and_not_measured() -> None:
    """A peer may need another Python than this one."""
    way = Way(name="peer", once=_never, missing="it is not installed")

    alone, absent = measure(Contest(what="work", unit="/s", ours=lambda: 1.0, ways=[way]), EFFORT)

    assert (alone.other, alone.ours) == (None, 1.0)
    assert (absent.other, absent.ratio) == ("peer", None)
    assert absent.missing == "it is not installed"


@pytest.mark.parametrize(
    ("goal", "reached", "missed"),
    [(Goal(0.9), 0.896, 0.894), (Goal(20, at_most=True), 20.0, 20.1)],
)
def test_a_goal_is_reached_or_missed_as_it_is_shown(
    goal: Goal, reached: float, missed: float
) -> None:
    """Nobody can see more digits than the page has."""
    assert goal.is_met_by(reached)
    assert not goal.is_met_by(missed)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(12345.6, "12,300"), (999.4, "999"), (42.26, "42.3"), (0.1234, "0.123"), (None, "")],
)
def test_figures_have_three_digits(number: float | None, shown: str) -> None:
    """More of them are noise."""
    assert figure(number) == shown


def _each(*figures: float) -> Iterator[float]:
    yield from figures


def _never() -> float:
    raise AssertionError("it was measured")
