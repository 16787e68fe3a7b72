"""What a command that is done still owes: told in a line each, on stderr."""

from collections import Counter
from collections.abc import Sequence
from math import ceil

from allocation.entrypoints.output import say
from allocation.service_layer.delivery import Failure


class Owed:
    """Counts the failures of deliveries, to say in one line each what becomes of them."""

    def __init__(self) -> None:
        self._retried: Counter[str] = Counter()
        self._parked: Counter[str] = Counter()

    def add(self, failures: Sequence[Failure]) -> None:
        """Count these."""
        for failure in failures:
            handler, seconds = failure.delivery.handler, failure.retry_in
            if seconds is None:
                self._parked[handler] += 1
            else:
                self._retried[f"{handler} in {ceil(seconds)} s"] += 1

    def show(self) -> None:
        """Say what will be retried and what is parked; nothing is lost."""
        if count := self._retried.total():
            what = ", ".join(self._retried)
            say(f'{counted(count)} will be retried: {what}; run "allocation worker"', err=True)
        if count := self._parked.total():
            what = ", ".join(self._parked)
            say(f'{counted(count)} parked: {what}; see "allocation deliveries list"', err=True)


def counted(count: int) -> str:
    """Return "1 delivery", or as many deliveries as there are."""
    return "1 delivery" if count == 1 else f"{count} deliveries"
