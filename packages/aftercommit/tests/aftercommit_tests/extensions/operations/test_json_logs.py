"""What a line of the log looks like for machines."""

import json
import logging
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper

import pytest
from aftercommit.envelopes import bind_context
from aftercommit.process.logging_setup import set_up_logging

from aftercommit_tests.builders import a_context
from aftercommit_tests.command_line import own_logging
from aftercommit_tests.things.app import APP

logger = logging.getLogger("things.test")
ReadLog = Callable[[], str]


@pytest.fixture(params=["utf-8"])
def read_log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadLog]:
    """What returns the only line that was logged, to a stream with an encoding."""
    stream = TextIOWrapper(written := BytesIO(), request.param, errors="backslashreplace")
    monkeypatch.setattr("sys.stderr", stream)

    def read() -> str:
        stream.flush()
        [line] = written.getvalue().decode(request.param).splitlines()
        return line

    with own_logging():
        set_up_logging("things", "info", "json", APP.log_formatters())
        yield read


def test_a_line_for_machines_is_one_json_object(read_log: ReadLog) -> None:
    """Collectors of logs read a line at a time, and look for these keys; people read names."""
    with bind_context(context := a_context()):
        logger.warning("no bell of %s", 'Иван "Ваня" 李')

    line = read_log()
    assert "Иван" in line
    assert "李" in line
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "things.test",
        "message": 'no bell of Иван "Ваня" 李',
        "correlation_id": str(context.correlation_id),
        "causation_id": str(context.causation_id),
    }


def test_an_exception_stays_in_the_line_for_machines(read_log: ReadLog) -> None:
    """A traceback over many lines would become as many broken entries."""
    try:
        raise LookupError("no such\nИван")
    except LookupError:
        logger.exception("it\nfailed")

    entry = json.loads(read_log())
    assert entry["message"] == "it\nfailed"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("LookupError: no such\nИван")


@pytest.mark.parametrize("read_log", ["ascii", "latin-1", "utf-8"], indirect=True)
@pytest.mark.parametrize("message", ["made é Иван", "\x1b[2J\x9b2J\u202e\u2028"])
def test_a_line_for_machines_is_json_in_every_encoding_and_commands_no_terminal(
    read_log: ReadLog, message: str
) -> None:
    """Python escapes what a stream cannot write in a way that JSON does not know.

    JSON itself escapes only half of what a terminal obeys, when a person looks at the log.
    """
    logger.warning(message)

    line = read_log()
    assert line.isprintable()
    assert json.loads(line)["message"] == message
