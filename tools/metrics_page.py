"""Makes the table of metrics from the metrics that a process of this application reports.

It opens the application on a temporary database and does a little work, so that each metric has its
labels. `generated.py` writes the table into the page.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio
import yaml
from aftercommit import IdempotencyKey, testing
from aftercommit.extensions.metrics.observer import MetricsObserver
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.handler_pauses import pause
from aftercommit.process.running_services import Shutdown
from prometheus_client.metrics_core import Metric

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.app import APP
from allocation.service_layer.emails import Email
from tools.repository import ROOT

RULES = ROOT / "docs" / "deploy" / "prometheus" / "rules.yaml"
PREFIX = "allocation_"


def metrics() -> Iterator[str]:
    """Yield a table of the metrics that begin with the application's name, in groups."""
    alerts = _alerts()
    yield "| metric | type | labels | meaning | alerts |"
    yield "|---|---|---|---|---|"
    for family in sorted(_reported(), key=_group):
        name = family.name + "_total" * (family.type == "counter")
        labels = sorted(_labels(family) - {"le"})
        cells = [
            f"`{name}`",
            family.type,
            ", ".join(f"`{label}`" for label in labels) or "–",
            family.documentation,
            ", ".join(f"`{alert}`" for alert in alerts if name in alerts[alert]) or "–",
        ]
        yield f"| {' | '.join(cells)} |"


def _labels(family: Metric) -> set[str]:
    """Return the labels of a metric, also of one that has no sample in this application."""
    declared = vars(family).get("_labelnames", ())  # no public attribute has them
    return {*declared, *(label for sample in family.samples for label in sample.labels)}


def _group(family: Metric) -> tuple[bool, bool, str]:
    """Sort metrics of the database before those of a process, and durations last."""
    return family.type != "gauge", family.type == "histogram", family.name


def _alerts() -> dict[str, set[str]]:
    """Return the metrics that each alert uses."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {
        rule["alert"]: set(re.findall(rf"{PREFIX}\w+", rule["expr"])) for rule in group["rules"]
    }


def _reported() -> list[Metric]:
    """Return the metrics of a process that has done a little of everything."""
    with TemporaryDirectory() as folder:
        collecting = MetricsSettings(collect_metrics=True)
        url = testing.sqlite_url(APP, Path(folder))
        return anyio.run(_of_a_process, Settings(database_url=url, of_extensions=(collecting,)))


class _NoEmails:
    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        """Send nothing: only the attempt counts."""


async def _of_a_process(settings: Settings) -> list[Metric]:
    async with bootstrap(APP, settings, notifications=_NoEmails()) as application:
        command = RegisterUser(user_id=UserId(uuid4()), name="Иван", email="ivan@example.com")
        await application.bus.handle(command)
        await pause(application.database, ["send_change_notice"], Decision(by="Maria"))
        for observer in application.bus.instrumentation.observers:
            if isinstance(observer, MetricsObserver):
                observer.message("commands", "executed")
        probes = Probes(application, Shutdown(), 300.0)
        await probes.look(with_stats=True)
        found = await anyio.to_thread.run_sync(lambda: list(probes.collect()))
        return [family for family in found if family.name.startswith(PREFIX)]
