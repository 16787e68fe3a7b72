# extension: brokers, operations, postgresql, smtp, web
"""The alerts of docs/deploy ask for metrics that exist, and lead to what to do."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, Expr, VectorSelector

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.runtime import Shutdown
from allocation.extensions.metrics.process_health import Probes
from allocation.extensions.metrics.settings import MetricsSettings
from allocation.extensions.operations.delivery_admin import pause
from tests.builders import a_registration
from tests.unit.test_docs import as_anchor

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[4]
RULES = ROOT / "docs" / "deploy" / "prometheus" / "rules.yaml"
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
    named = re.findall(r"`(Allocation[A-Z]\w+)`", (ROOT / "docs" / "operations.md").read_text())

    assert set(named) == set(ALERTS)


def test_the_page_has_a_table_of_all_alerts() -> None:
    """Each in its row, with the part of the page that the alert itself leads to."""
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(Allocation\w+)` \|.*?\]\((#[^)]*)\)", page, re.MULTILINE)
    runbook = {name: rule["annotations"]["runbook"] for name, rule in ALERTS.items()}

    assert {name: f"docs/operations.md{anchor}" for name, anchor in rows} == runbook
