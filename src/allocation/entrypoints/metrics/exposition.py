"""The metrics as text, as Prometheus reads it."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from allocation.adapters.metrics.readings import Readings, connections, read
from allocation.bootstrap import Application
from allocation.entrypoints.metrics.histogram import Histogram
from allocation.entrypoints.metrics.observer import Counts

K = TypeVar("K", bound=tuple[str, ...])  # the values of labels

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


async def metrics_text(
    application: Application, reading: Callable[[], Awaitable[Readings]] | None = None
) -> bytes:
    """Return what this process has done, and what the database says is owed.

    If the database cannot be read, the rest is there. `reading` is another way to ask it: without
    a `Glance`, this waits for as long as the database does, over a connection for each who asks.
    """
    reading = reading or partial(read, application.database, application.handlers)
    try:
        readings = await reading()
    except Exception:  # whatever it is, `allocation_database_up` says it
        readings = None
    return generate_latest(_Snapshot(application, readings))


class _Snapshot(Collector):
    """What there is to say now. Nothing is registered anywhere: two applications do not mix."""

    def __init__(self, application: Application, readings: Readings | None) -> None:
        self._application, self._readings = application, readings

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        observers = self._application.bus.observers
        for counts in (observer for observer in observers if isinstance(observer, Counts)):
            yield from _of_this_process(counts)
        up = float(self._readings is not None)
        yield _gauge("database_up", "1 if the database has answered just now.", {(): up})
        if self._readings:
            yield from _owed(self._readings)
        if in_pool := connections(self._application.database):
            used, size = in_pool
            yield _gauge("connections_in_use", "Connections in use.", {(): used})
            yield _gauge("connections_limit", "How many there may be.", {(): size})


def _of_this_process(counts: Counts) -> Iterator[Metric]:
    text = "Commands: done, refused, failed, repeated, cancelled."
    yield _counter("commands", text, counts.commands, "command", "outcome")
    text = (
        "Attempts at deliveries: done, retried, parked, superseded, given_back (also if too late)."
    )
    yield _counter("attempts", text, counts.attempts, "handler", "outcome")
    retries = {(name,): count for name, count in counts.optimistic_retries.items()}
    yield _counter("optimistic_retries", "Runs anew: others were first.", retries, "name")
    text = "From begin to end of a command's handler."
    yield _histogram("command_duration_seconds", text, counts.command_seconds, "command")
    text = "From begin to end of an attempt."
    yield _histogram("attempt_duration_seconds", text, counts.attempt_seconds, "handler")
    text = "From the commit of an event to the end of its handler's work, with all attempts."
    yield _histogram("commit_to_settled_seconds", text, counts.settled_seconds, "handler")


def _owed(readings: Readings) -> Iterator[Metric]:
    text = "Deliveries owed: due, in_hand, waiting for their next attempt, parked, or a replay."
    yield _gauge("deliveries", text, readings.owed, "handler", "state")
    text = "For how long the oldest delivery has been due that can be done here. Without replays."
    yield _gauge("oldest_due_seconds", text, {(): readings.oldest_due_seconds})
    text = "For how long the oldest of all has been due, if it cannot be done here; else 0."
    yield _gauge("oldest_stranger_seconds", text, {(): readings.oldest_stranger_seconds})


def _counter(name: str, text: str, counts: Mapping[K, int], *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"allocation_{name}", text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _gauge(name: str, text: str, found: Mapping[K, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"allocation_{name}", text, labels=labels)
    for values, value in found.items():
        family.add_metric(values, value)
    return family


def _histogram(
    name: str, text: str, histograms: Mapping[str, Histogram], label: str
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"allocation_{name}", text, labels=[label])
    for value, histogram in histograms.items():
        family.add_metric([value], list(histogram.buckets()), histogram.total)
    return family
