"""What a line of the log looks like, and whose ids are in it."""

from collections.abc import Iterator

import anyio
import pytest
from aftercommit.envelopes import MessageContext, bind_context
from aftercommit.process.logging_setup import TextFormatter
from anyio import to_thread
from anyio.abc import TaskStatus

from aftercommit_tests.builders import a_context
from aftercommit_tests.output import Log

pytestmark = pytest.mark.anyio

FORGED = "no\r\n2026-11-25 10:10:16,000 CRITICAL things: the disk is full\x1b[2J\x9b2J\u202e"


@pytest.fixture
def log() -> Iterator[Log]:
    """A log for people."""
    log = Log(TextFormatter())
    yield log
    log.close()


def has_ids_of(line: str, context: MessageContext) -> bool:
    return str(context.correlation_id) in line and str(context.causation_id) in line


async def test_every_line_of_the_work_on_a_message_has_its_ids(log: Log) -> None:
    """They lead from any line to the whole story, across processes, and also out of threads.

    Handling a command goes on after the events it caused were handled.
    """
    outer, inner = a_context(), a_context()

    with bind_context(outer):
        with bind_context(inner):
            await to_thread.run_sync(log.logger.info, "inner")
        log.logger.warning("outer")

    inner_line, outer_line = log.lines()
    assert has_ids_of(inner_line, inner)
    assert has_ids_of(outer_line, outer)
    assert str(outer.causation_id) not in inner_line


def test_a_line_outside_of_any_work_has_no_ids(log: Log) -> None:
    """Wrong ids would send the reader to the wrong story, also after work that failed."""
    log.logger.info("before")
    with pytest.raises(ZeroDivisionError), bind_context(a_context()):
        raise ZeroDivisionError
    log.logger.info("after")

    assert len(log.lines()) == 2
    assert "_id" not in "".join(log.lines())


async def test_tasks_that_run_at_once_keep_their_ids_apart(log: Log) -> None:
    """Handlers run concurrently, and share one log."""
    contexts = [a_context() for _ in range(3)]
    all_started = anyio.Event()

    async def work(context: MessageContext, *, task_status: TaskStatus[None]) -> None:
        with bind_context(context):
            task_status.started()
            await all_started.wait()
            log.logger.info("working on <%s>", context.causation_id)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for context in contexts:
                await group.start(work, context)
            all_started.set()

    assert len(log.lines()) == 3
    for context in contexts:
        [line] = (line for line in log.lines() if f"<{context.causation_id}>" in line)
        assert str(context.correlation_id) in line


def test_what_a_server_has_said_begins_no_line_of_the_log(log: Log) -> None:
    """Or whoever runs a mail server could have the log say what they like.

    What happened comes first: the ids are long.
    """
    context = a_context()

    with bind_context(context):
        log.logger.warning("it replies %s", FORGED)

    [line] = log.lines()
    assert line.isprintable()
    assert " WARNING things.test: it replies no\\u000d\\u000a2026-11-25" in line
    ids = f" correlation_id={context.correlation_id} causation_id={context.causation_id}"
    assert line.endswith(ids)


def test_a_traceback_begins_no_line_of_the_log(log: Log) -> None:
    """The text of an exception is somebody else's, too; only an entry begins at the margin."""
    try:
        raise LookupError(FORGED)
    except LookupError:
        log.logger.exception("it failed")

    first, *others = log.lines()
    assert first.endswith(" ERROR things.test: it failed")
    assert others[0] == "  Traceback (most recent call last):"
    assert "  LookupError: no\\u000d" in others
    assert all(line.startswith("  ") and line.isprintable() for line in others)
