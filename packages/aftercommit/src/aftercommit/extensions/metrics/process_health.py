"""The state of this process, polled in the background, so a hanging database hangs no scrape."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib import metadata
from itertools import count
from math import inf
from platform import python_version
from threading import Lock
from time import monotonic

from anyio import create_task_group, sleep
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool

from aftercommit.extensions.metrics.observer import MetricsObserver
from aftercommit.extensions.metrics.queue_metrics import gauge, queue_metrics, readiness_error
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.process.application import Application
from aftercommit.process.running_services import Shutdown
from aftercommit.settings import EngineSettings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WRITES_FAILING = (
    "Seconds for which writes have been tried and none has succeeded; 0 if they succeed."
)
UP = "1 if the database has answered recently."
VERSIONS = ("version", "aftercommit", "python")
BUILD = "Always 1; its labels are the versions of the program, of the engine and of Python."
DEGRADED = "What a process lacks of other services, such as a topic, and goes on without."
BEAT_SECONDS = 1.0  # between two checks of whether the process is ready
STATS_BEATS = 5  # between two counts of outstanding deliveries, which may take a second
TEXT_SECONDS = 1.0  # for which all scrapes get the same text: making it costs time
STALE_SECONDS = 3.0  # without an answer: then the database does not answer
BLOCKED_SECONDS = 10.0  # for which the event loop may be blocked and alive


class Probes(Collector):
    """What is known about this process; the answers come at once, from any thread."""

    def __init__(
        self,
        application: Application,
        stop: Shutdown,
        max_lag_seconds: float,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.stop = stop
        self._application, self._max_lag, self._clock = application, max_lag_seconds, clock
        observers = application.bus.instrumentation.observers
        self.counts = next((o for o in observers if isinstance(o, MetricsObserver)), None)
        self._name = application.database.application
        self._gauge = partial(gauge, self._name)
        self._answered = self._beaten = clock()
        self._database_error: str | None = None
        self._outstanding: Sequence[Metric] = ()
        self._text, self._text_made_at, self._making_text = b"", -inf, Lock()
        self._process = ProcessCollector(registry=None)
        if self.counts:
            name_of = application.database.codec.name_of
            commands = [name_of(each) for each in application.bus.registry.commands]
            sources = [each.source for each in application.subscriptions()]
            self.counts.expect(commands, application.handlers, sources)

    async def look(self, *, with_stats: bool = False) -> None:
        """Query the database now."""
        database, handlers = self._application.database, self._application.handlers
        try:
            limits = self._application.bus.delivery_store.limits
            error = await readiness_error(database, handlers, self._max_lag, limits)
            self._database_error = error
            if with_stats:
                every = self._application.every
                self._outstanding = await queue_metrics(database, handlers, limits, every)
        except Exception:  # probes need not know more
            self._database_error, self._outstanding = "the database cannot be used", ()
        self._answered = self._clock()

    def liveness_error(self) -> str | None:
        """Return why this process should be restarted; None if it should not."""
        seconds = self._clock() - self._beaten
        stuck = f"the event loop has been blocked for {seconds:.0f} s"
        return stuck if seconds > BLOCKED_SECONDS else None

    def readiness_error(self) -> str | None:
        """Return why this process should get no work now; None if it is ready."""
        if self.stop.is_set():
            return "draining"
        if problems := self._application.readiness_problems:
            return next(iter(problems.values()))
        if self._is_silent:
            return "the database does not answer"
        failing = self.counts and self.counts.writes.failing_seconds()
        write_error = f"no write has succeeded for {failing:.0f} s" if failing else None
        return self._database_error or write_error

    def metrics(self) -> bytes:
        """Return the metrics of this process and of the outstanding work, in Prometheus's format.

        They are up to TEXT_SECONDS old. System files are read, so call it in a thread.
        """
        with self._making_text:
            if self._clock() - self._text_made_at >= TEXT_SECONDS:
                self._text, self._text_made_at = generate_latest(self), self._clock()
            return self._text

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics: a collector, as Prometheus calls it."""
        yield from self.of_any_process()
        if self.counts:
            yield from self.counts.registry.collect()
            failing = self.counts.writes.failing_seconds() or 0.0
            yield self._gauge("writes_failing_seconds", WRITES_FAILING, {(): failing})
        lacking = len(self._application.degradations)
        yield self._gauge("degradations", DEGRADED, {(): lacking})
        yield from self._process.collect()
        if isinstance(pool := self._application.database.engine.pool, QueuePool):
            in_use = {(): pool.checkedout()}
            yield self._gauge("connections_in_use", "Connections in use.", in_use)
            # the connection for probes does not count: no work can use it
            limit = {(): pool.size() - 1}
            yield self._gauge("connections_limit", "The most connections that it may use.", limit)

    def of_any_process(self) -> Iterator[Metric]:
        """Yield the metrics that every process of this release reports alike."""
        yield self._gauge("build_info", BUILD, {_versions(self._name): 1}, *VERSIONS)
        found = () if self._is_silent else self._outstanding
        yield self._gauge("database_up", UP, {(): bool(found)})
        yield from found

    async def beat(self) -> None:
        """Note that the event loop runs."""
        while True:
            self._beaten = self._clock()
            await sleep(BEAT_SECONDS)

    async def look_on(self) -> None:
        """Check every second."""
        for beat in count(1):
            await sleep(BEAT_SECONDS)
            await self.look(with_stats=beat % STATS_BEATS == 0)

    @property
    def _is_silent(self) -> bool:
        return self._clock() - self._answered > STALE_SECONDS


@cache
def _versions(application: str) -> tuple[str, ...]:
    """Return the labels of VERSIONS; an application need not be an installed distribution."""
    try:
        version = metadata.version(application)
    except metadata.PackageNotFoundError:
        version = ""
    return version, metadata.version("aftercommit"), python_version()


@asynccontextmanager
async def probing(
    settings: EngineSettings, application: Application, stop: Shutdown
) -> AsyncIterator[Probes]:
    """Check this process and its database once, then repeatedly while the context lasts."""
    probes = Probes(application, stop, settings.of(MetricsSettings).readiness_max_lag_seconds)
    async with create_task_group() as group:
        await probes.look(with_stats=True)
        group.start_soon(probes.beat)
        group.start_soon(probes.look_on)
        yield probes
        group.cancel_scope.cancel()
