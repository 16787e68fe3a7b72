"""Metrics that do not depend on which of several processes answers the scrape.

Behind one address, each scrape may reach another process. Counters of one process would then jump
between their values, and Prometheus would take each fall for a restart.
"""

import os
from collections.abc import Iterator
from math import inf

from anyio import Event, create_task_group, move_on_after, to_thread
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from aftercommit.errors import InvalidValue
from aftercommit.extensions.metrics.process_health import STALE_SECONDS, Probes
from aftercommit.process.application import Application
from aftercommit.process.running_services import Shutdown

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class SharedProbes(Probes):
    """Probes that report nothing of their own process.

    What they report are the gauges that come from the database. If processes share a directory,
    they also report counters and histograms: the sums over all processes that count there.
    """

    def __init__(self, application: Application, stop: Shutdown) -> None:
        super().__init__(application, stop, inf)
        self._looked = Event()

    async def look_until_stopped(self) -> None:
        """Look at the database now, and repeatedly until the process has to stop."""
        async with create_task_group() as group:
            await self.look(with_stats=True)
            self._looked.set()
            group.start_soon(self.look_on)
            await self.stop.wait()
            group.cancel_scope.cancel()

    async def text(self) -> bytes:
        """Return the metrics; only the first look is waited for, and not for long."""
        with move_on_after(STALE_SECONDS):
            await self._looked.wait()
        return await to_thread.run_sync(self.metrics)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics: a collector, as Prometheus calls it."""
        yield from self.of_any_process()
        if self.counts and (directory := shared_directory()):
            # the application's own metrics may be in the directory, too
            own = {metric.name for metric in self.counts.registry.collect()}
            sums: Collector = MultiProcessCollector(None, directory)  # type: ignore[no-untyped-call]
            yield from (metric for metric in sums.collect() if metric.name in own)


def shared_directory() -> str | None:
    """Return where processes count together, as prometheus-client reads it; None if they do not.

    :raises InvalidValue: if it does not exist
    """
    directory = os.environ.get(DIRECTORY)
    if directory and not os.path.isdir(directory):
        raise InvalidValue(DIRECTORY, "is no directory; create an empty one before the start")
    return directory or None
