"""The name of an application is said once; the engine knows none.

What others see of it has this name: the engine's own tests, whose application is `things`, look.
"""

import logging
import re

import pytest
from aftercommit import CommandLine
from aftercommit.errors import WiringError

from allocation.config import Settings
from allocation.entrypoints.app import APP
from checks.code_size import ENGINE

EXAMPLE = re.compile(r"^ *(>>>|\.\.\.).*", re.MULTILINE)  # in a docstring: it has an application
OF_THE_APPLICATION = re.compile(
    r"allocation|coupon|welcome|\busers?_id\b|register_user", re.IGNORECASE
)


E_MAIL = re.compile("e-?mail", re.IGNORECASE)  # of one extension alone


def test_no_file_of_the_engine_names_the_application() -> None:
    """It runs others, too."""
    endings = {".py", ".sql", ".js", ".html"}
    template = ENGINE / "project"  # applications, and no part of the engine
    engine = [each for each in ENGINE.rglob("*") if each.suffix in endings]
    engine = [each for each in engine if template not in each.parents]
    texts = {each: EXAMPLE.sub("", each.read_text("utf-8")) for each in engine}

    assert len(engine) > 100
    assert [str(each) for each, text in texts.items() if OF_THE_APPLICATION.search(text)] == []
    smtp = ENGINE / "extensions" / "smtp"
    assert {each.parent for each, text in texts.items() if E_MAIL.search(text)} == {smtp}


@pytest.mark.parametrize("name", ["", "Shop", "shop-floor", "1shop", "shop'", "лавка", "a" * 32])
def test_a_name_that_is_not_safe_everywhere_is_refused(name: str) -> None:
    """It is in statements and in names of variables, where nothing quotes it."""
    with pytest.raises(WiringError, match="an application's name has to match"):
        type("OtherSettings", (Settings,), {"application": name})


def test_an_application_has_one_name() -> None:
    """Else its metrics would have one, and its command line and logger another."""
    renamed = APP.with_parts(name="shop")

    with pytest.raises(WiringError, match="different names: allocation, shop"):
        CommandLine(renamed, {}).load_settings()


def test_the_level_of_the_log_is_also_that_of_the_engine_and_of_no_other_library() -> None:
    """A library that writes much would hide the rest."""
    loggers = [logging.getLogger(name) for name in ("allocation", "aftercommit", "sqlalchemy")]

    CommandLine(APP, {}).load_settings(log_level="debug")
    levels = [logger.getEffectiveLevel() for logger in loggers]
    logging.basicConfig(handlers=[], force=True)
    for logger in loggers:
        logger.setLevel(logging.NOTSET)

    assert levels == [logging.DEBUG, logging.DEBUG, logging.WARNING]
