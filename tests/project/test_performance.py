"""How benchmarks measure; time itself is measured by no test."""

from collections.abc import Iterator

from benchmarks.measuring import Contest, Effort, Way, in_turn, measure

EFFORT = Effort(full=False)


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


def _each(*figures: float) -> Iterator[float]:
    yield from figures
