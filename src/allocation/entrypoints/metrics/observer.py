"""Counts what is done in this process, and how long it takes: the observer.

It counts from the start whether anybody asks or not: a few additions a message. Nothing here knows
Prometheus; `exposition.py` does.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from time import monotonic

from allocation.adapters.wire import wire_name
from allocation.entrypoints.metrics.histogram import LONG_SECONDS, SECONDS, Histogram
from allocation.service_layer.delivery import Delivery, Failure, Trigger, is_permanent
from allocation.service_layer.envelopes import CommandEnvelope
from allocation.service_layer.exceptions import LeaseOver, MessageAlreadyHandled
from allocation.service_layer.facts import (
    Begun,
    Delivered,
    Ended,
    Executed,
    Fact,
    Failed,
    OptimisticRetry,
    Superseded,
    Work,
)

Histograms = defaultdict[str, Histogram]


class Counts:
    """An observer: counts by name and outcome, and durations by name."""

    def __init__(self) -> None:
        self.commands: Counter[tuple[str, str]] = Counter()
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.optimistic_retries: Counter[str] = Counter()
        self.command_seconds = Histograms(partial(Histogram, SECONDS))
        self.attempt_seconds = Histograms(partial(Histogram, SECONDS))
        self.settled_seconds = Histograms(partial(Histogram, LONG_SECONDS))
        self._begun: dict[int, float] = {}  # by the identity of what is worked on

    def __call__(self, fact: Fact) -> None:
        """Count what has happened."""
        match fact:
            case Begun(work):
                self._begun[id(work)] = monotonic()
            case Ended(work, error):
                self._count_end(work, error, monotonic() - self._begun.pop(id(work)))
            case Executed(command):  # not its end: that may be one of many with one commit
                self.commands[wire_name(type(command)), "done"] += 1
            case Delivered(delivery):
                self._count_settled(delivery)
            case Failed(failure):
                self.attempts[failure.delivery.handler, _fate(failure)] += 1
            case Superseded(delivery):
                self.attempts[delivery.handler, "superseded"] += 1
            case OptimisticRetry(trigger):
                self.optimistic_retries[_name(trigger)] += 1

    def _count_end(self, work: Work, error: BaseException | None, seconds: float) -> None:
        match work:
            case CommandEnvelope(command=command):
                name = wire_name(type(command))
                self.command_seconds[name].observe(seconds)
                if error is not None:
                    self.commands[name, _outcome(error)] += 1
            case Delivery(handler=name):
                if not isinstance(error, LeaseOver):  # else it was not begun
                    self.attempt_seconds[name].observe(seconds)
                if error is not None and _is_given_back(error):
                    self.attempts[name, "given_back"] += 1

    def _count_settled(self, delivery: Delivery) -> None:
        since_commit = (datetime.now(UTC) - delivery.envelope.time).total_seconds()
        self.attempts[delivery.handler, "done"] += 1
        # two clocks, if another machine has committed it
        self.settled_seconds[delivery.handler].observe(max(0.0, since_commit))


@contextmanager
def counting() -> Iterator[Counts]:
    """Count, for as long as the program works."""
    yield Counts()


def _name(trigger: Trigger) -> str:
    if isinstance(trigger, CommandEnvelope):
        return wire_name(type(trigger.command))
    return trigger.handler


def _outcome(error: BaseException) -> str:
    match error:
        case MessageAlreadyHandled():
            return "repeated"
        case Exception():
            return "refused" if is_permanent(error) else "failed"
    return "cancelled"


def _is_given_back(error: BaseException) -> bool:
    """Tell whether somebody else may try at once: it was cancelled, or too late to begin."""
    return isinstance(error, LeaseOver) or not isinstance(error, Exception)


def _fate(failure: Failure) -> str:
    return "parked" if failure.retry_in is None else "retried"
