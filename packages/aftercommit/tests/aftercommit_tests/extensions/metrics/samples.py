"""What Prometheus would store of what a process tells."""

from aftercommit import Application
from aftercommit.process.running_services import Shutdown
from anyio import to_thread
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from aftercommit_tests.inside.metrics import Probes

Samples = dict[tuple[str, ...], float]

MAX_LAG_SECONDS = 300.0


def samples(text: bytes) -> Samples:
    """Return the samples of a text: names and labels, in the order they are written."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def counted(registry: CollectorRegistry, name: str) -> Samples:
    """Return the samples of one metric, by the values of their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"things_{name}"
    }


def overdue(found: Samples) -> dict[str, float]:
    """Return the age of the oldest due delivery of each handler that has one."""
    ages = {name[1]: n for name, n in found.items() if name[0] == "things_oldest_due_seconds"}
    return {handler: age for handler, age in ages.items() if age}


async def metrics_of(application: Application) -> Samples:
    """Return what is shown when the database has just been looked at."""
    probes = Probes(application, Shutdown(), MAX_LAG_SECONDS)
    await probes.look(with_stats=True)
    return samples(await to_thread.run_sync(probes.metrics))
