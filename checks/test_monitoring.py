"""The alerts and the dashboard of docs/deploy ask for metrics that exist; alerts say what to do.

Prometheus' own `promtool` says whether an alert sees the first event. Where there is none, only the
metrics that it needs are looked for.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from aftercommit import Every, Outbox
from aftercommit.deliveries.schedule_rows import Schedules
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.handler_pauses import pause
from aftercommit.limits import Limit
from aftercommit.process.running_services import Shutdown
from anyio import run_process, to_thread
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, Expr, VectorSelector

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.app import APP
from tests.builders import a_registration
from tools.reference_pages import as_anchor
from tools.repository import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.on("trio"), pytest.mark.check]

RULES = ROOT / "docs" / "deploy" / "prometheus" / "rules.yaml"
PAGE = (ROOT / "docs" / "watch.md").read_text()
OPERATING = ROOT / "packages" / "aftercommit" / "docs" / "operating.md"
SCRAPING = RULES.with_name("prometheus.yml")
DASHBOARD = json.loads((ROOT / "docs" / "deploy" / "grafana" / "dashboard.json").read_text())
OF_PROMETHEUS = {"up"}  # it makes it itself, and the labels of all
ALWAYS = {"job", "instance", "le"}
SECONDS = {"s": 1, "m": 60, "minute": 60, "hour": 3600, "day": 86400}

[GROUP] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}
WITH_A_TIME = [name for name, rule in ALERTS.items() if "increase" not in rule["expr"]]
OF_COUNTERS = [name for name in ALERTS if name not in WITH_A_TIME]
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}


@pytest.fixture
async def families(app_settings: Settings) -> dict[str, Metric]:
    """What a process tells, by the names that Prometheus stores."""
    return await told(app_settings, with_work=True)


@pytest.fixture
async def at_first(app_settings: Settings) -> dict[str, Metric]:
    """What a process tells that has done nothing yet."""
    return await told(app_settings, with_work=False)


async def told(app_settings: Settings, *, with_work: bool) -> dict[str, Metric]:
    collecting = MetricsSettings(collect_metrics=True)
    async with bootstrap(APP, replace(app_settings, of_extensions=(collecting,))) as application:
        if with_work:
            await application.bus.handle(a_registration())
            await pause(application.database, ["send_change_notice"], Decision(by="Maria"))
            # as in an application of which a handler is `Limited`
            limited = {"send_welcome_email": Limit("mail", at_once=5)}
            application.bus.delivery_store.limits = limited
            # and one with a schedule
            make = a_registration  # its event is not looked at
            every = [Every("nightly", "0 3 * * *", lambda at: make())]
            application = replace(application, every=every)
            envelopes = application.bus.envelopes
            await Schedules(application.database, every, envelopes).store_due()
        found = Probes(application, Shutdown(), 300.0)
        await found.look(with_stats=True)
        text = (await to_thread.run_sync(found.metrics)).decode()
    return {
        sample.name: family
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_alerts_of_an_outbox_ask_for_what_it_reports(tmp_path: Path) -> None:
    """When they were given its name with the command of operating.md."""
    [command] = re.findall(r"`(sed .*?) > shop.yaml`", OPERATING.read_text())
    made = await run_process(command, cwd=RULES.parent)
    [group] = yaml.safe_load(made.stdout)["groups"]
    rules = {rule["alert"]: rule["expr"] for rule in group["rules"]}
    app = Outbox("shop", f"sqlite:///{tmp_path}/shop.db", [], collect_metrics=True).app
    async with app.open(app.load({})) as application:
        found = Probes(application, Shutdown(), 300.0)
        await found.look(with_stats=True)
        text = (await to_thread.run_sync(found.metrics)).decode()

    reported = {*re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)} | OF_PROMETHEUS
    asked = {str(each.name) for expr in rules.values() for each in selectors(expr)}
    named = {*re.findall(r"`(Shop[A-Z]\w+)`", OPERATING.read_text())}
    assert asked <= reported
    assert named <= rules.keys()
    assert len(named) > 3


def parts(expression: str) -> list[Expr]:
    """Return all that an expression is made of."""
    found: list[Expr] = []
    promql_parser.walk(promql_parser.parse(expression), found.append, lambda _: None)
    return found


def selectors(expression: str) -> Iterable[VectorSelector]:
    """Return what an expression asks processes for."""
    return [
        part
        for part in parts(expression)
        if isinstance(part, VectorSelector) and part.name not in OF_PROMETHEUS
    ]


def kept(expression: str) -> set[str]:
    """Return the labels by which an expression groups."""
    grouping = (p.modifier for p in parts(expression) if isinstance(p, AggregateExpr))
    return {"instance"}.union(*(each.labels for each in grouping if each))


def labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels}


def require(expression: str, named: set[str], families: dict[str, Metric]) -> None:
    """See that an expression asks for what there is, and that these labels are in its result."""
    known = set(ALWAYS)
    for selector in selectors(expression):
        family = families[str(selector.name)]
        known |= labels(family)
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels(family) | ALWAYS
            values = re.findall(r"\w+", family.documentation)
            assert matcher.name == "job" or matcher.value in values
    assert named <= kept(expression) <= known


@pytest.mark.parametrize("name", ALERTS)
async def test_every_alert_asks_for_what_is_told(name: str, families: dict[str, Metric]) -> None:
    """One that asks for a metric which does not exist is silent forever."""
    summary = ALERTS[name]["annotations"]["summary"]

    require(ALERTS[name]["expr"], {*re.findall(r"\$labels\.(\w+)", summary)}, families)


async def test_a_process_has_every_metric_to_look_at_first(families: dict[str, Metric]) -> None:
    """Those of watch.md; all of them are in metrics.md, which is made from what a process has."""
    rows = re.findall(r"^\| `(allocation_\w+)", PAGE, re.MULTILINE)
    of_process = {
        name if family.type == "counter" else family.name for name, family in families.items()
    }

    assert len(rows) > 5
    assert [name for name in rows if name not in of_process] == []


async def test_every_panel_asks_for_what_is_told(families: dict[str, Metric]) -> None:
    """One that asks for a metric which does not exist is empty, and looks like good news."""
    assert len(PANELS) > 10
    for panel in PANELS.values():
        assert panel["description"]
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m")
            require(expression, {*re.findall(r"{{(\w+)}}", target["legendFormat"])}, families)


def test_the_dashboard_shows_all_that_alerts_look_at() -> None:
    """Anyone who is woken looks there next."""
    shown = {
        selector.name
        for panel in PANELS.values()
        for target in panel["targets"]
        for selector in selectors(target["expr"].replace("$__rate_interval", "1m"))
    }

    assert {s.name for rule in ALERTS.values() for s in selectors(rule["expr"])} <= shown


@pytest.mark.parametrize("name", OF_COUNTERS)
async def test_what_an_alert_counts_begins_at_0(name: str, at_first: dict[str, Metric]) -> None:
    """A counter that appears at 1 has not increased: the alert would miss the first event."""
    for selector in selectors(ALERTS[name]["expr"]):
        wanted = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        samples = [
            sample
            for sample in at_first[str(selector.name)].samples
            if wanted.items() <= sample.labels.items()
        ]
        assert samples
        assert {sample.value for sample in samples} == {0}


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own program for rules."""
    found = shutil.which("promtool")
    if not found and os.environ.get("CI"):
        pytest.fail("promtool is not installed")
    return found or pytest.skip("promtool is not installed")


FIRST, LATER = "register_user", "send_welcome_email"
EVENTS = {
    "AllocationRetries": ("35m", {"handler": LATER}, "0x5 1+1x40"),
    "AllocationLeasesLost": ("7m", {"handler": LATER}, "0x5 1x40"),
    "AllocationCommandsFail": ("7m", {"command": FIRST}, "0x5 1x40"),
    "AllocationDeadLetters": ("7m", {"source": "commands"}, "0x5 1x40"),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_alert_sees_the_first_event(name: str, promtool: str, tmp_path: Path) -> None:
    """Fed with what a process tells, from its start to the event."""
    when, of_series, values = EVENTS[name]
    rule, [*_, selector] = (
        ALERTS[name],
        sorted(selectors(ALERTS[name]["expr"]), key=lambda each: len(each.matchers.matchers)),
    )
    wanted = of_series | {each.name: each.value for each in selector.matchers.matchers}
    series = ", ".join(f'{label}="{value}"' for label, value in wanted.items())
    summary = re.sub(
        r"{{ \$labels\.(\w+) }}", lambda each: of_series[each[1]], rule["annotations"]["summary"]
    )
    told = {
        "exp_labels": {**rule["labels"], **of_series},
        "exp_annotations": {**rule["annotations"], "summary": summary},
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": f"{selector.name}{{{series}}}", "values": values}],
        "alert_rule_test": [
            {"eval_time": "5m", "alertname": name, "exp_alerts": []},
            {"eval_time": when, "alertname": name, "exp_alerts": [told]},
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))

    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {*EVENTS} == {*OF_COUNTERS}


def test_prometheus_takes_the_configuration(promtool: str) -> None:
    """With the rules it names."""
    done = subprocess.run([promtool, "check", "config", SCRAPING], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_the_alerts_find_the_job_that_is_scraped() -> None:
    """And the ports are those of the units."""
    [job] = yaml.safe_load(SCRAPING.read_text())["scrape_configs"]
    files = sorted((ROOT / "docs" / "deploy" / "systemd").glob("*.service"))
    units = "".join(file.read_text() for file in files)
    ports = {target.partition(":")[2] for target in job["static_configs"][0]["targets"]}

    assert f'up{{job="{job["job_name"]}"}}' in ALERTS["AllocationDown"]["expr"]
    assert ports == {"9460", "9461", "9462"}
    assert re.findall(r"ALLOCATION_METRICS_PORT=(.*)", units) == ["9460", "946%i"]


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
    rows = re.findall(r"^\| `(Allocation\w+)` \|.*?\]\((#?[^)]*)\)", PAGE, re.MULTILINE)
    runbook = {name: rule["annotations"]["runbook"] for name, rule in ALERTS.items()}

    pages = {name: link if link.partition("#")[0] else f"watch.md{link}" for name, link in rows}
    assert {name: f"docs/{link}" for name, link in pages.items()} == runbook
    assert set(re.findall(r"`(Allocation[A-Z]\w+)`", PAGE)) == set(ALERTS)
