"""The alerts of docs/deploy ask for metrics that exist, and lead to what to do."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import sqlalchemy as sa
import yaml
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.extensions.operations.handler_pauses import pause
from aftercommit.process.runtime import Shutdown
from aftercommit.sql import tables
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, Expr, VectorSelector

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from tests.builders import a_batch, a_registration
from tests.integration.extensions.metrics.alert_clock import (
    EVERY_SECONDS,
    Labels,
    Samples,
    fires_after,
)
from tests.project.test_docs import as_anchor

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[4]
RULES = ROOT / "docs" / "deploy" / "prometheus" / "rules.yaml"
PAGE = (ROOT / "docs" / "operations.md").read_text()
OF_PROMETHEUS = {"up": {"job", "instance"}}  # it makes them itself, and the labels of all
ALWAYS = {"job", "instance", "le"}

[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}


@pytest.fixture
async def families(settings: Settings) -> dict[str, Metric]:
    """What a process tells, by the names that Prometheus stores."""
    collecting = replace(settings, of_extensions=(MetricsSettings(collect_metrics=True),))
    async with bootstrap(collecting) as application:
        await application.bus.handle(a_registration())
        async with bootstrap(replace(settings, dispatch="worker")) as leaving_it_to_others:
            await leaving_it_to_others.bus.handle(a_registration(email="maria@example.com"))
        await pause(application.database, ["send_change_notice"], by="Maria")
        found = Probes(application, Shutdown(), 300.0)
        await found.look(with_stats=True)
        text = found.metrics().decode()
    return {
        sample.name: family
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def parts(expression: str) -> list[Expr]:
    """Return all that an expression is made of."""
    found: list[Expr] = []
    promql_parser.walk(promql_parser.parse(expression), found.append, lambda _: None)
    return found


async def test_every_alert_asks_for_what_is_told(families: dict[str, Metric]) -> None:
    """One that asks for a metric which does not exist is silent for ever."""
    for name, rule in ALERTS.items():
        for selector in (part for part in parts(rule["expr"]) if isinstance(part, VectorSelector)):
            metric = str(selector.name)
            if metric in OF_PROMETHEUS:
                continue
            assert metric in families, name
            for matcher in selector.matchers.matchers:
                assert matcher.name in labels(families[metric]), name
                assert matcher.value in re.findall(r"\w+", families[metric].documentation), name


async def test_every_label_that_is_kept_is_there(families: dict[str, Metric]) -> None:
    """And what the words of an alert name is kept."""
    for name, rule in ALERTS.items():
        known = set(ALWAYS)
        for part in parts(rule["expr"]):
            if isinstance(part, VectorSelector) and part.name in families:
                known |= labels(families[str(part.name)])
        kept = {
            label
            for part in parts(rule["expr"])
            if isinstance(part, AggregateExpr) and part.modifier
            for label in part.modifier.labels
        }
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert kept <= known, name
        assert named <= kept | {"instance"}, name


WITH_A_TIME = [
    "AllocationWorkNotProcessed",
    "AllocationUnclaimable",
    "AllocationDatabaseAway",
    "AllocationFailsForHours",
    "AllocationPausedForLong",
    "AllocationLate",
]
UNITS = {"s": 1, "minute": 60, "hour": 3600, "day": 86400}


@pytest.mark.parametrize("name", WITH_A_TIME)
def test_an_alert_fires_when_the_page_says(name: str) -> None:
    """An age is a time of its own: an alert that waits besides comes later than it says."""
    [metric] = {str(p.name) for p in parts(ALERTS[name]["expr"]) if isinstance(p, VectorSelector)}
    is_age = metric.startswith("allocation_oldest")  # it grows; the others are 0 since the begin
    row = re.search(rf"^\| `{name}` \| (.*?) \|", PAGE, re.MULTILINE)
    assert row
    times = re.findall(r"\b(\d+|a) (s|minute|hour|day)s?\b", row[1])
    said = sum((1 if count == "a" else int(count)) * UNITS[unit] for count, unit in times)

    fired = fires_after(
        ALERTS[name],
        lambda now: {metric: {frozenset({("handler", "x")}): now if is_age else 0.0}},
        limit=2 * said + 60,
    )

    assert fired is not None
    assert said <= fired <= said + 2 * EVERY_SECONDS


async def test_what_was_for_later_is_late_only_after_its_time(settings: Settings) -> None:
    """25 days after its event, it is in time: how late it is counts from when it is due."""
    collecting = replace(settings, of_extensions=(MetricsSettings(collect_metrics=True),))
    handler, limit = "send_coupon_reminder", 3600
    async with bootstrap(collecting) as application:
        now = application.database.clock

        async def samples(**values: object) -> Samples:
            """Return what the process tells when these are the values of the delivery."""
            this = sa.update(tables.deliveries).where(tables.deliveries.c.handler == handler)
            async with application.database.write_transaction() as transaction:
                await transaction.execute(this.values(values))
                await transaction.commit()
            probes = Probes(application, Shutdown(), 300.0)  # one tells the same for a second
            await probes.look(with_stats=True)
            return samples_of(probes.metrics().decode())

        await application.bus.handle(a_batch())
        await application.bus.handle(a_registration())
        async with application.database.write_transaction() as transaction:
            of_long_ago = {"time": datetime.now(UTC) - timedelta(days=25)}
            await transaction.execute(sa.update(tables.events).values(of_long_ago))
            await transaction.commit()
        waits = await samples(available_at=now + 60)
        late = await samples(available_at=now - 60)
        claims = await application.bus.outbox.claim(10, [handler])
        assert (await application.bus.run(claims)).failures == []
        is_done = await samples(replay=False)

    rule = ALERTS["AllocationLate"]
    assert fires_after(rule, lambda _: waits, limit=limit) is None
    assert fires_after(rule, lambda _: late, limit=limit) == 600
    assert fires_after(rule, lambda _: is_done, limit=limit) is None


def samples_of(text: str) -> Samples:
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples


def labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_leads_to_what_to_do(name: str) -> None:
    """At night, nobody wants to look for it: the part begins with its name."""
    page, _, anchor = ALERTS[name]["annotations"]["runbook"].partition("#")
    found = re.findall(r"^##+ (.*)\n\n(.*(?:\n.+)*)", (ROOT / page).read_text(), re.MULTILINE)
    beginnings = {as_anchor(title): text for title, text in found}

    assert f"`{name}`" in beginnings[anchor]
    assert ALERTS[name]["labels"]["severity"] in ("page", "ticket")


def test_every_alert_that_is_named_exists() -> None:
    """A page outlives the names that it was written with."""
    named = re.findall(r"`(Allocation[A-Z]\w+)`", PAGE)

    assert set(named) == set(ALERTS)


def test_the_page_has_a_table_of_all_alerts() -> None:
    """Each in its row, with the part of the page that the alert itself leads to."""
    rows = re.findall(r"^\| `(Allocation\w+)` \|.*?\]\((#[^)]*)\)", PAGE, re.MULTILINE)
    runbook = {name: rule["annotations"]["runbook"] for name, rule in ALERTS.items()}

    assert {name: f"docs/operations.md{anchor}" for name, anchor in rows} == runbook
