"""The name of an application begins all that others see of it; the engine knows no name."""

import json
import logging
import re
from collections.abc import Iterator
from typing import ClassVar

import pytest
from aftercommit.errors import WiringError
from aftercommit.extensions.brokers.asyncapi import published_language
from aftercommit.extensions.metrics.observer import MetricsObserver
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.app import CommandLine
from aftercommit.process.cli.main import command_line
from click.testing import CliRunner

from allocation.config import Settings
from allocation.entrypoints.allocation import Allocation
from allocation.extension_list import EXTENSIONS
from tests.project.shape import ENGINE
from tests.shop import Shop

LITERAL = re.compile(r"allocation|ALLOCATION")
OF_THE_DOMAIN = re.compile(r"coupon|welcome|e-?mail|\busers?_id\b|register_user", re.IGNORECASE)


def test_no_file_of_the_engine_names_the_application() -> None:
    """It runs others, too."""
    endings = {".py", ".sql", ".js", ".html"}
    engine = [each for each in ENGINE.rglob("*") if each.suffix in endings]

    assert len(engine) > 100
    for names in (LITERAL, OF_THE_DOMAIN):
        assert [str(each) for each in engine if names.search(each.read_text("utf-8"))] == []


@pytest.mark.parametrize("name", ["", "Shop", "shop-floor", "1shop", "shop'", "лавка", "a" * 32])
def test_a_name_that_is_not_safe_everywhere_is_refused(name: str) -> None:
    """It is in statements and in names of variables, where nothing quotes it."""
    with pytest.raises(WiringError, match="the name of the application is not"):
        type("OtherSettings", (Settings,), {"application": name})


def test_an_application_has_one_name() -> None:
    """Else its metrics would have one, and its command line and logger another."""

    class Renamed(Allocation):
        name: ClassVar[str] = "shop"

    with pytest.raises(WiringError, match="two names of one application: allocation, shop"):
        CommandLine(Renamed(), {}).load_settings()


def test_the_environment_is_asked_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two applications in one container have settings of their own."""
    monkeypatch.setenv("SHOP_POOL_SIZE", "7")
    monkeypatch.setenv("ALLOCATION_POOL_SIZE", "8")

    assert Shop().load({}).pool_size == 7


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        ([], "SHOP_DATABASE_URL"),
        ([], "SHOP_METRICS_HOST"),
        ([], "SHOP_MAIL_URL"),
        (["events", "prune"], "SHOP_RETENTION_DAYS"),
    ],
)
def test_the_help_names_the_variables_of_the_application(command: list[str], variable: str) -> None:
    """What it says can be copied."""
    shown = CliRunner().invoke(command_line(Shop()), [*command, "--help"], terminal_width=80)

    assert shown.exit_code == 0
    assert variable in shown.output
    assert not LITERAL.search(shown.output)


@pytest.fixture
def loggers() -> Iterator[list[logging.Logger]]:
    """The loggers of the application and of what runs it, which get their levels back."""
    found = [logging.getLogger(name) for name in ("shop", "aftercommit")]
    yield found
    logging.basicConfig(handlers=[], force=True)
    for logger in found:
        logger.setLevel(logging.NOTSET)


def test_the_level_of_the_log_is_that_of_the_application_and_of_the_engine(
    loggers: list[logging.Logger],
) -> None:
    """They are packages of two names, and one process."""
    CommandLine(Shop(), {}).load_settings(log_level="debug")

    assert [logger.level for logger in loggers] == [logging.DEBUG, logging.DEBUG]
    assert logging.getLogger("sqlalchemy").getEffectiveLevel() == logging.WARNING


def test_queues_topics_and_dead_letters_have_the_name() -> None:
    """Others on the broker have theirs."""
    text = published_language(Shop())
    document = json.loads(text)
    channels = document["channels"].values()

    assert document["info"]["title"] == "shop"
    names = {"shop.events", "shop.commands", "shop.commands.dead"}
    assert {each["address"] for each in channels} == names
    assert {each["bindings"]["kafka"]["topic"] for each in channels} == names
    assert {"shop-error", "shop-reason"} <= set(re.findall(r"shop-\w+", text))
    assert not LITERAL.search(text.replace('"/allocation"', "the source of its codec"))


def test_metrics_have_the_name() -> None:
    """One scraper reads both, and sums up neither with the other."""
    found = [metric.name for metric in MetricsObserver("shop").registry.collect()]

    assert found
    assert [name for name in found if not name.startswith("shop_")] == []


def test_the_document_of_the_api_has_the_name() -> None:
    """It says what the operator's token is called."""
    document = web_application(Shop(), WebSettings(), EXTENSIONS).openapi()

    assert document["info"]["title"] == "shop"
    assert "`SHOP_OPERATOR_TOKEN`" in json.dumps(document["components"]["securitySchemes"])
