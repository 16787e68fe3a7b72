"""What a line of the log looks like for machines."""

import json
import logging
import sys
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper

import pytest
from aftercommit.envelopes import bind_context
from aftercommit.extensions.operations.json_logs import JsonFormatter
from aftercommit.process.logging_setup import set_up_logging

from allocation.extension_list import EXTENSIONS
from tests.builders import a_context
from tests.output import Log


@pytest.fixture
def log() -> Iterator[Log]:
    """A log for machines."""
    log = Log(JsonFormatter("utf-8"))
    yield log
    log.close()


def test_a_line_for_machines_is_one_json_object(log: Log) -> None:
    """Collectors of logs read a line at a time, and look for these keys; people read names."""
    context = a_context()

    with bind_context(context):
        log.logger.warning("no address of %s", 'Иван "Ваня" 李')

    [line] = log.lines()
    assert "Иван" in line
    assert "李" in line
    entry = json.loads(line)
    time = entry.pop("time")
    assert time.endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "allocation.test",
        "message": 'no address of Иван "Ваня" 李',
        "correlation_id": str(context.correlation_id),
        "causation_id": str(context.causation_id),
    }


def test_an_exception_stays_in_the_line_for_machines(log: Log) -> None:
    """A traceback over many lines would become as many broken entries."""
    try:
        raise LookupError("no such\nИван")
    except LookupError:
        log.logger.exception("it\nfailed")

    [line] = log.lines()
    entry = json.loads(line)
    assert entry["message"] == "it\nfailed"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("LookupError: no such\nИван")


def test_a_line_for_machines_cannot_command_a_terminal(log: Log) -> None:
    """People look at it, too, when something is wrong; JSON itself escapes only half of that."""
    log.logger.warning("\x1b[2J\x9b2J\u202e\u2028")

    [line] = log.lines()
    assert line.isprintable()
    assert json.loads(line)["message"] == "\x1b[2J\x9b2J\u202e\u2028"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_line_for_machines_is_json_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Python escapes what a stream cannot write in a way that JSON does not know."""
    written = BytesIO()
    stream = TextIOWrapper(written, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)

    set_up_logging("allocation", "info", "json", EXTENSIONS.formatters())
    logging.getLogger("allocation").info("registered é Иван")
    logging.basicConfig(handlers=[], force=True)
    for package in ("aftercommit", "allocation"):
        logging.getLogger(package).setLevel(logging.NOTSET)
    stream.flush()

    assert json.loads(written.getvalue().decode(encoding))["message"] == "registered é Иван"
