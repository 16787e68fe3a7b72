"""A histogram as Prometheus has it: how many took at most so long, and how long all took."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""For what has a time limit: the usual bounds of Prometheus, up to the default lease."""
LONG_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""For what may be tried again: up to the hours of the default policy, and a day."""


class Histogram:
    """Counts durations by upper bounds, in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Yield each bound with how many did not exceed it."""
        yield from zip((*map(str, self._bounds), "+Inf"), accumulate(self._counts), strict=True)
