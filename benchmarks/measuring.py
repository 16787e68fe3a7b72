"""The one way of measuring: rounds in turn, medians, and ratios of what ran side by side.

A round is a function that does the work for a while and returns one figure. Ours and those it is
compared with take turns, and who begins changes, so that a noisy machine is noisy for all. A ratio
is made of the two figures of one round; the median of the ratios counts.
"""

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T", int, float)

Round = Callable[[], float]

OURS = "ours"


class Unavailable(Exception):
    """What is to be measured is not here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio, or a figure of ours that is compared with nobody's, has to reach."""

    limit: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}"

    def is_met_by(self, figure: float) -> bool:
        """Tell whether it is reached, as far as it is shown."""
        figure = as_shown(figure)
        return figure <= self.limit if self.at_most else figure >= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How another does the same work: a peer, or the limit, which leaves out all but the work."""

    name: str
    once: Round
    goal: Goal | None = None  # of ours ÷ this
    is_limit: bool = False
    missing: str | None = None  # why it cannot be measured here


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One work and one unit; ours, and the ways it is compared with."""

    what: str
    unit: str
    ours: Round
    ways: Sequence[Way] = ()
    goal: Goal | None = None  # of our figure itself
    rounds: int | None = None  # how many, where it is not the effort that says it


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of ours and one other; medians, and the lowest and highest of a ratio."""

    what: str
    unit: str
    ours: float
    other: str | None = None
    is_limit: bool = False
    theirs: float | None = None
    ratio: float | None = None
    lowest: float | None = None
    highest: float | None = None
    goal: str | None = None
    is_met: bool | None = None
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: little, in some minutes for all topics, or enough to be sure."""

    full: bool

    @property
    def rounds(self) -> int:
        """How many rounds there are, where a contest does not say otherwise."""
        return self.pick(3, 9)

    @property
    def seconds(self) -> float:
        """How long one round takes, where it is not a number of jobs that ends it."""
        return self.pick(0.4, 2.0)

    def pick(self, little: T, much: T) -> T:
        """Return what fits."""
        return much if self.full else little


def as_shown(ratio: float) -> float:
    """Round to two digits after the point, or to two digits that count if it is small."""
    return round(ratio, 2) if ratio >= 0.1 else float(f"{ratio:.2g}")


def measure(contest: Contest, effort: Effort) -> list[Row]:
    """Measure a contest: a row for each other way, and one for ours if it has a goal of its own."""
    ways = [way for way in contest.ways if way.missing is None]
    rounds = {OURS: contest.ours, **{way.name: way.once for way in ways}}
    figures = in_turn(rounds, contest.rounds or effort.rounds)
    absent = [_absent(contest, way, figures) for way in contest.ways if way.missing]
    alone = [] if ways and contest.goal is None else [_alone(contest, figures)]
    return [*alone, *(_compared(contest, way, figures) for way in ways), *absent]


def in_turn(rounds: dict[str, Round], count: int) -> dict[str, list[float]]:
    """Run so many rounds of each, in turn, and return their figures."""
    figures: dict[str, list[float]] = {name: [] for name in rounds}
    names = list(rounds)
    for turn in range(count):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # nobody pays for the garbage of another
            figures[name].append(rounds[name]())
    return figures


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """Return the ratio of each round, lowest first."""
    return sorted(our / their for our, their in zip(ours, theirs, strict=True))


def _alone(contest: Contest, figures: dict[str, list[float]]) -> Row:
    ours = median(figures[OURS])
    return Row(
        what=contest.what,
        unit=contest.unit,
        ours=ours,
        goal=None if contest.goal is None else str(contest.goal),
        is_met=None if contest.goal is None else contest.goal.is_met_by(ours),
    )


def _compared(contest: Contest, way: Way, figures: dict[str, list[float]]) -> Row:
    of_rounds = ratios(figures[OURS], figures[way.name])
    ratio = median(of_rounds)
    return Row(
        what=contest.what,
        unit=contest.unit,
        ours=median(figures[OURS]),
        other=way.name,
        is_limit=way.is_limit,
        theirs=median(figures[way.name]),
        ratio=ratio,
        lowest=of_rounds[0],
        highest=of_rounds[-1],
        goal=None if way.goal is None else str(way.goal),
        is_met=None if way.goal is None else way.goal.is_met_by(ratio),
    )


def _absent(contest: Contest, way: Way, figures: dict[str, list[float]]) -> Row:
    return Row(
        what=contest.what,
        unit=contest.unit,
        ours=median(figures[OURS]),
        other=way.name,
        is_limit=way.is_limit,
        goal=None if way.goal is None else str(way.goal),
        missing=way.missing,
    )
