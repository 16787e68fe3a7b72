"""How benchmarks measure; time itself is measured by no test."""

from collections.abc import Callable

from benchmarks.measuring import Contest, Effort, Way, measure


def test_rounds_take_turns_and_a_ratio_is_that_of_one_round() -> None:
    """What begins finds another machine; two medians would be of two different moments."""
    order: list[str] = []

    def once(name: str, *figures: float) -> Callable[[], float]:
        left = iter(figures)

        def measured() -> float:
            order.append(name)
            return next(left)

        return measured

    ways = [Way(name="peer", once=once("peer", 10.0, 2.0, 4.0))]
    contest = Contest(what="work", unit="/s", ours=once("ours", 10.0, 1.0, 6.0), ways=ways)

    [row] = measure(contest, Effort(full=False))

    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert (row.ours, row.theirs) == (6.0, 4.0)
    assert (row.ratio, row.lowest, row.highest) == (1.0, 0.5, 1.5)
