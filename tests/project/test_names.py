"""The name of an application begins all that others see of it; the engine knows no name."""

import json
import logging
import re
from typing import ClassVar

import pytest
from aftercommit.errors import WiringError
from aftercommit.extensions.brokers.asyncapi import published_language
from aftercommit.extensions.metrics.observer import MetricsObserver
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.cli.main import command_line
from aftercommit.process.command_line import CommandLine
from click.testing import CliRunner

from allocation.config import Settings
from allocation.entrypoints.app import Allocation
from allocation.extension_list import EXTENSIONS
from tests.project.shape import ENGINE
from tests.project.shop import Shop

EXAMPLE = re.compile(r"^ *(>>>|\.\.\.).*", re.MULTILINE)  # in a docstring: it has an application
LITERAL = re.compile(r"allocation|ALLOCATION")
OF_THE_DOMAIN = re.compile(r"coupon|welcome|e-?mail|\busers?_id\b|register_user", re.IGNORECASE)


def test_no_file_of_the_engine_names_the_application() -> None:
    """It runs others, too."""
    endings = {".py", ".sql", ".js", ".html"}
    template = ENGINE / "project" / "template"  # an application, and no part of the engine
    engine = [each for each in ENGINE.rglob("*") if each.suffix in endings]
    engine = [each for each in engine if template not in each.parents]

    texts = {each: EXAMPLE.sub("", each.read_text("utf-8")) for each in engine}

    assert len(engine) > 100
    for names in (LITERAL, OF_THE_DOMAIN):
        assert [str(each) for each, text in texts.items() if names.search(text)] == []


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


def test_two_applications_in_one_environment_have_settings_and_logs_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The level of the log is also that of the engine, and of nobody else."""
    monkeypatch.setenv("SHOP_POOL_SIZE", "7")
    monkeypatch.setenv("ALLOCATION_POOL_SIZE", "8")
    loggers = [logging.getLogger(name) for name in ("shop", "aftercommit", "sqlalchemy")]

    settings = CommandLine(Shop(), {}).load_settings(log_level="debug")
    levels = [logger.getEffectiveLevel() for logger in loggers]
    logging.basicConfig(handlers=[], force=True)
    for logger in loggers:
        logger.setLevel(logging.NOTSET)

    assert settings.pool_size == 7
    assert levels == [logging.DEBUG, logging.DEBUG, logging.WARNING]


def test_the_help_names_the_variables_of_the_application() -> None:
    """What it says can be copied."""
    variables = ("SHOP_DATABASE_URL", "SHOP_METRICS_HOST", "SHOP_MAIL_URL")

    for command, expected in (((), variables), (("events", "prune"), ("SHOP_RETENTION_DAYS",))):
        shown = CliRunner().invoke(command_line(Shop()), [*command, "--help"], terminal_width=80)
        assert [name for name in expected if name not in shown.output] == []
        assert not LITERAL.search(shown.output)


def test_what_others_read_has_the_name() -> None:
    """On a broker, in metrics, and in the document of the API, others have theirs."""
    text = published_language(Shop())
    document = json.loads(text)
    channels = document["channels"].values()
    metrics = [metric.name for metric in MetricsObserver("shop").registry.collect()]
    api = web_application(Shop(), WebSettings(), EXTENSIONS).openapi()

    names = {"shop.events", "shop.commands", "shop.commands.dead"}
    assert document["info"]["title"] == api["info"]["title"] == "shop"
    assert {each["address"] for each in channels} == names
    assert {each["bindings"]["kafka"]["topic"] for each in channels} == names
    assert {"shop-error", "shop-reason"} <= set(re.findall(r"shop-\w+", text))
    assert not LITERAL.search(text.replace('"/allocation"', "the source of its codec"))
    assert {name.partition("_")[0] for name in metrics} == {"shop"}
    assert "`SHOP_OPERATOR_TOKEN`" in json.dumps(api["components"]["securitySchemes"])
