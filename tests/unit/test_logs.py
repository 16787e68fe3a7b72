"""What a line of the log looks like, for people and for machines."""

import json
import logging
import sys
from collections.abc import Iterator
from io import BytesIO, StringIO, TextIOWrapper

import anyio
import pytest
from anyio import to_thread
from anyio.abc import TaskStatus

from allocation.entrypoints.logs import TextFormatter, set_up_logging
from allocation.entrypoints.operations.json_logs import JsonFormatter
from allocation.service_layer.context import working_on
from allocation.service_layer.delivery import Cause
from tests.builders import a_cause

pytestmark = pytest.mark.anyio

FORMATTERS = [TextFormatter(), JsonFormatter("utf-8")]


class Log:
    """A logger of its own, and the lines it has written."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(formatter)
        self.logger = logging.Logger("allocation.test", logging.INFO)
        self.logger.addHandler(self._handler)

    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    def close(self) -> None:
        self.logger.removeHandler(self._handler)
        self._handler.close()


@pytest.fixture(params=FORMATTERS)
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """A log in each of the formats."""
    log = Log(request.param)
    yield log
    log.close()


@pytest.fixture
def text_log() -> Iterator[Log]:
    """A log for people."""
    log = Log(TextFormatter())
    yield log
    log.close()


@pytest.fixture
def json_log() -> Iterator[Log]:
    """A log for machines."""
    log = Log(JsonFormatter("utf-8"))
    yield log
    log.close()


def has_ids_of(line: str, cause: Cause) -> bool:
    return str(cause.correlation_id) in line and str(cause.causation_id) in line


def test_every_line_of_the_work_on_a_message_has_its_ids(log: Log) -> None:
    """They lead from any line to the whole story, across processes."""
    cause = a_cause()

    with working_on(cause):
        log.logger.info("one")
        log.logger.warning("two")

    assert [has_ids_of(line, cause) for line in log.lines()] == [True, True]


def test_a_line_outside_of_any_work_has_no_ids(log: Log) -> None:
    """Wrong ids would send the reader to the wrong story."""
    log.logger.info("before")
    with working_on(a_cause()):
        pass
    log.logger.info("after")

    assert len(log.lines()) == 2
    assert "correlation_id" not in "".join(log.lines())
    assert "causation_id" not in "".join(log.lines())


def test_the_ids_are_gone_after_work_that_failed(log: Log) -> None:
    """The next message must not be logged under the ids of the one that failed."""
    with pytest.raises(ZeroDivisionError), working_on(a_cause()):
        raise ZeroDivisionError
    log.logger.info("after")

    [line] = log.lines()
    assert "correlation_id" not in line


def test_inner_work_has_its_own_ids_and_gives_the_outer_ones_back(log: Log) -> None:
    """Handling a command goes on after the events it caused were handled."""
    outer, inner = a_cause(), a_cause()

    with working_on(outer):
        with working_on(inner):
            log.logger.info("inner")
        log.logger.info("outer")

    inner_line, outer_line = log.lines()
    assert has_ids_of(inner_line, inner)
    assert has_ids_of(outer_line, outer)
    assert str(outer.causation_id) not in inner_line


async def test_tasks_that_run_at_once_keep_their_ids_apart(log: Log) -> None:
    """Handlers run concurrently, and share one log."""
    causes = [a_cause() for _ in range(3)]
    all_started = anyio.Event()

    async def work(cause: Cause, *, task_status: TaskStatus[None]) -> None:
        with working_on(cause):
            task_status.started()
            await all_started.wait()
            log.logger.info("working on <%s>", cause.causation_id)

    with anyio.fail_after(1):
        async with anyio.create_task_group() as group:
            for cause in causes:
                await group.start(work, cause)
            all_started.set()

    assert len(log.lines()) == 3
    for cause in causes:
        [line] = (line for line in log.lines() if f"<{cause.causation_id}>" in line)
        assert str(cause.correlation_id) in line


async def test_the_ids_follow_the_work_into_a_thread(log: Log) -> None:
    """E-mails are sent in threads, and those are the lines one looks for."""
    cause = a_cause()

    with working_on(cause):
        await to_thread.run_sync(log.logger.info, "in a thread")

    [line] = log.lines()
    assert has_ids_of(line, cause)


def test_a_line_for_people_ends_with_the_ids(text_log: Log) -> None:
    """What happened comes first: the ids are long."""
    cause = a_cause()

    with working_on(cause):
        text_log.logger.warning("no coupon for %s", "Иван")

    [line] = text_log.lines()
    assert line.endswith(
        f" WARNING allocation.test: no coupon for Иван"
        f" correlation_id={cause.correlation_id} causation_id={cause.causation_id}"
    )


def test_a_line_for_people_shows_the_exception(text_log: Log) -> None:
    """The traceback is what one looks for after a failure."""
    try:
        raise LookupError("no such Иван")
    except LookupError:
        text_log.logger.exception("it failed")

    assert text_log.lines()[0].endswith(" ERROR allocation.test: it failed")
    assert text_log.lines()[-1] == "LookupError: no such Иван"


def test_a_line_for_machines_is_one_json_object(json_log: Log) -> None:
    """Collectors of logs read a line at a time, and look for these keys."""
    cause = a_cause()

    with working_on(cause):
        json_log.logger.warning("no coupon for %s", "Иван")

    [line] = json_log.lines()
    entry = json.loads(line)
    time = entry.pop("time")
    assert time.endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "allocation.test",
        "message": "no coupon for Иван",
        "correlation_id": str(cause.correlation_id),
        "causation_id": str(cause.causation_id),
    }


def test_an_exception_stays_in_the_line_for_machines(json_log: Log) -> None:
    """A traceback over many lines would become as many broken entries."""
    try:
        raise LookupError("no such\nИван")
    except LookupError:
        json_log.logger.exception("it\nfailed")

    [line] = json_log.lines()
    entry = json.loads(line)
    assert entry["message"] == "it\nfailed"
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("LookupError: no such\nИван")


def test_a_line_without_an_exception_has_no_such_key(json_log: Log) -> None:
    """Whoever searches for failures searches for the key."""
    json_log.logger.error("it failed")

    [line] = json_log.lines()
    assert "exception" not in json.loads(line)


def test_names_are_readable_in_a_line_for_machines(json_log: Log) -> None:
    """People read and search these lines too; an escaped name is not found."""
    json_log.logger.info("registered %s", 'Иван "Ваня" 李')

    [line] = json_log.lines()
    assert "Иван" in line
    assert "李" in line
    assert json.loads(line)["message"] == 'registered Иван "Ваня" 李'


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_line_for_machines_is_json_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Python escapes what a stream cannot write in a way that JSON does not know."""
    written = BytesIO()
    stream = TextIOWrapper(written, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)

    set_up_logging("info", "json")
    logging.getLogger("allocation").info("registered é Иван")
    logging.basicConfig(handlers=[], force=True)
    logging.getLogger("allocation").setLevel(logging.NOTSET)
    stream.flush()

    assert json.loads(written.getvalue().decode(encoding))["message"] == "registered é Иван"
