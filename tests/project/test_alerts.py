"""The alerts of docs/deploy ask for metrics that exist, and lead to what to do."""

import re
from dataclasses import replace
from typing import Any

import promql_parser
import pytest
import yaml
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.handler_pauses import pause
from aftercommit.process.runtime import Shutdown
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, Expr, VectorSelector

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.app import APP
from tests.builders import a_registration
from tests.project.reference_pages import as_anchor
from tools.files import ROOT

pytestmark = pytest.mark.anyio

RULES = ROOT / "docs" / "deploy" / "prometheus" / "rules.yaml"
PAGE = (ROOT / "docs" / "operations.md").read_text()
OF_PROMETHEUS = {"up"}  # it makes it itself, and the labels of all
ALWAYS = {"job", "instance", "le"}
SECONDS = {"s": 1, "m": 60, "minute": 60, "hour": 3600, "day": 86400}

[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
WITH_A_TIME = [name for name, rule in ALERTS.items() if "increase" not in rule["expr"]]


@pytest.fixture
async def families(app_settings: Settings) -> dict[str, Metric]:
    """What a process tells, by the names that Prometheus stores."""
    collecting = MetricsSettings(collect_metrics=True)
    async with bootstrap(APP, replace(app_settings, of_extensions=(collecting,))) as application:
        await application.bus.handle(a_registration())
        await pause(application.database, ["send_change_notice"], Decision(by="Maria"))
        found = Probes(application, Shutdown(), 300.0)
        await found.look(with_stats=True)
        text = found.metrics().decode()
    return {
        sample.name: family
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def parts(name: str) -> list[Expr]:
    """Return all that the expression of an alert is made of."""
    found: list[Expr] = []
    expression = promql_parser.parse(ALERTS[name]["expr"])
    promql_parser.walk(expression, found.append, lambda _: None)
    return found


def labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels}


async def test_every_alert_asks_for_what_is_told(families: dict[str, Metric]) -> None:
    """One that asks for a metric which does not exist is silent for ever."""
    for name, rule in ALERTS.items():
        known, kept = set(ALWAYS), {"instance"}
        for part in parts(name):
            if isinstance(part, AggregateExpr) and part.modifier:
                kept |= {*part.modifier.labels}
            if isinstance(part, VectorSelector) and part.name not in OF_PROMETHEUS:
                family = families[str(part.name)]
                known |= labels(family)
                for matcher in part.matchers.matchers:
                    assert matcher.name in labels(family), name
                    assert matcher.value in re.findall(r"\w+", family.documentation), name
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= kept <= known, name


@pytest.mark.parametrize("name", WITH_A_TIME)
def test_an_alert_fires_when_the_page_says(name: str) -> None:
    """An age is a time of its own: an alert that waits besides comes later than it says."""
    row = re.search(rf"^\| `{name}` \| (.*?) \|", PAGE, re.MULTILINE)
    assert row
    said = re.findall(r"\b(\d+|a) (s|minute|hour|day)s?\b", row[1])
    waits = re.findall(r"^(\d+)(s|m)$", ALERTS[name].get("for", "0s"))
    age = re.search(r"(?:_seconds\)|time\(\) - .*) > (\d+)$", ALERTS[name]["expr"])

    assert seconds(said) == seconds(waits) + (int(age[1]) if age else 0)


def seconds(times: list[tuple[str, str]]) -> int:
    return sum((1 if count == "a" else int(count)) * SECONDS[unit] for count, unit in times)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_leads_to_what_to_do(name: str) -> None:
    """At night, nobody wants to look for it: the part begins with its name."""
    page, _, anchor = ALERTS[name]["annotations"]["runbook"].partition("#")
    found = re.findall(r"^##+ (.*)\n\n(.*(?:\n.+)*)", (ROOT / page).read_text(), re.MULTILINE)
    beginnings = {as_anchor(title): text for title, text in found}

    assert f"`{name}`" in beginnings[anchor]
    assert ALERTS[name]["labels"]["severity"] in ("page", "ticket")


def test_the_page_has_a_table_of_all_alerts() -> None:
    """Each in its row, with the part of the page that the alert itself leads to; and no other."""
    rows = re.findall(r"^\| `(Allocation\w+)` \|.*?\]\((#[^)]*)\)", PAGE, re.MULTILINE)
    runbook = {name: rule["annotations"]["runbook"] for name, rule in ALERTS.items()}

    assert {name: f"docs/operations.md{anchor}" for name, anchor in rows} == runbook
    assert set(re.findall(r"`(Allocation[A-Z]\w+)`", PAGE)) == set(ALERTS)
