"""The only way to measure: rounds in turn, medians, and ratios of what ran side by side.

A round is a function that does the work for a while and returns one figure. Our way and its peers
take turns, and the first one changes, so that a noisy machine is noisy for all. A ratio is made of
the two figures of one round; the median of the ratios counts.
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
    """Something to be measured is missing here; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How another does the same work: a peer, or the limit, which does nothing but the work."""

    name: str
    once: Round
    is_limit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One kind of work and one unit; our way, and the ways to compare it with."""

    what: str
    unit: str
    ours: Round
    ways: Sequence[Way]
    rounds: int | None = None  # the number of rounds, if it is not that of the effort


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The results of our way and one other: medians, and the lowest and highest ratio."""

    what: str
    unit: str
    ours: float
    other: str
    is_limit: bool
    theirs: float
    ratio: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure: a little, in some minutes for all topics, or enough to be sure."""

    full: bool

    @property
    def rounds(self) -> int:
        """How many rounds there are, unless a contest gives its own number."""
        return self.pick(3, 9)

    @property
    def seconds(self) -> float:
        """How many seconds one round takes, unless a number of jobs ends it."""
        return self.pick(0.4, 2.0)

    def pick(self, little: T, much: T) -> T:
        """Return the fitting value."""
        return much if self.full else little


Topic = Callable[[Effort], Iterable[Contest]]
"""One question, and how it is answered; performance.md explains it."""


def as_shown(ratio: float) -> float:
    """Round to two decimal places, or to two significant digits if the ratio is small."""
    return round(ratio, 2) if ratio >= 0.1 else float(f"{ratio:.2g}")


def measure(contest: Contest, effort: Effort) -> list[Row]:
    """Measure a contest: a row for each other way."""
    rounds = {OURS: contest.ours, **{way.name: way.once for way in contest.ways}}
    figures = in_turn(rounds, contest.rounds or effort.rounds)
    return [_compared(contest, way, figures[OURS], figures[way.name]) for way in contest.ways]


def in_turn(rounds: dict[str, Round], count: int) -> dict[str, list[float]]:
    """Run this many rounds of each, in turn, and return their figures."""
    figures: dict[str, list[float]] = {name: [] for name in rounds}
    names = list(rounds)
    for turn in range(count):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()  # nobody pays for another one's garbage
            figures[name].append(rounds[name]())
    return figures


def _compared(contest: Contest, way: Way, ours: list[float], theirs: list[float]) -> Row:
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    return Row(
        what=contest.what,
        unit=contest.unit,
        ours=median(ours),
        other=way.name,
        is_limit=way.is_limit,
        theirs=median(theirs),
        ratio=median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
    )
