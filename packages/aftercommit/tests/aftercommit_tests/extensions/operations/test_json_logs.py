"""What a line of the log looks like for machines."""

import json
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper

import pytest

from aftercommit_tests.builders import a_context
from aftercommit_tests.inside.claims import current_context
from aftercommit_tests.inside.operations import JsonFormatter
from aftercommit_tests.output import Log


@pytest.fixture
def log() -> Iterator[Log]:
    """A log for machines."""
    log = Log(JsonFormatter("utf-8"))
    yield log
    log.close()


def test_a_line_for_machines_is_one_json_object(log: Log) -> None:
    """Collectors of logs read a line at a time, and look for these keys; people read names."""
    token = current_context.set(context := a_context())
    log.logger.warning("no bell of %s", 'Иван "Ваня" 李')
    current_context.reset(token)

    [line] = log.lines()
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


def test_an_exception_stays_in_the_line_for_machines(log: Log) -> None:
    """A traceback over many lines would become as many broken entries."""
    try:
        raise LookupError("no such\nИван")
    except LookupError:
        log.logger.exception("it\nfailed")

    entry = json.loads(*log.lines())
    assert entry["message"] == "it\nfailed"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("LookupError: no such\nИван")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("message", ["made é Иван", "\x1b[2J\x9b2J\u202e\u2028"])
def test_a_line_for_machines_is_json_in_every_encoding_and_commands_no_terminal(
    monkeypatch: pytest.MonkeyPatch, encoding: str, message: str
) -> None:
    """Python escapes what a stream cannot write in a way that JSON does not know.

    JSON itself escapes only half of what a terminal obeys, when an operator looks at the log.
    """
    monkeypatch.setattr("sys.stderr", TextIOWrapper(BytesIO(), encoding))
    log = Log(JsonFormatter())
    log.logger.warning(message)

    [line] = log.lines()
    assert line.encode(encoding).decode(encoding).isprintable()
    assert json.loads(line)["message"] == message
    log.close()
