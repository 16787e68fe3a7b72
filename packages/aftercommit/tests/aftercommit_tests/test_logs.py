"""What a line of the log looks like, and whose ids are in it."""

from collections.abc import Iterator

import anyio
import pytest
from anyio import to_thread

from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import MessageContext
from aftercommit_tests.inside.process import TextFormatter
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.output import Log
from aftercommit_tests.things.domain import Event

pytestmark = pytest.mark.anyio

FORGED = "no\r\n2026-11-25 10:10:16,000 CRITICAL things: the disk is full\x1b[2J\x9b2J\u202e"


@pytest.fixture
def log() -> Iterator[Log]:
    """A log for people."""
    log = Log(TextFormatter())
    yield log
    log.close()


def ids(context: MessageContext) -> str:
    return f" correlation_id={context.correlation_id} causation_id={context.causation_id}"


async def test_every_line_of_the_work_on_a_message_has_its_ids(
    log: Log, new_world: NewWorld
) -> None:
    """They lead from any line to the whole story, also out of threads, and though work fails.

    Handlers run concurrently, and share one log.
    """
    waiting: list[Event] = []
    all_wait = anyio.Event()

    async def logs(event: Event) -> None:
        waiting.append(event)
        if len(waiting) == 2:
            all_wait.set()
        await all_wait.wait()
        await to_thread.run_sync(log.logger.info, "working")
        raise OSError("the bell is stuck")

    world = await new_world(event_handlers=on_made(logs))
    claims = await world.made(2)
    log.logger.info("before")
    await world.bus.run(claims)
    log.logger.info("after")

    before, *work, after = (line.partition(": ")[2] for line in log.lines())
    assert sorted(work) == sorted(f"working{ids(claim.context)}" for claim in claims)
    assert (before, after) == ("before", "after")


def test_what_a_server_has_said_begins_no_line_of_the_log(log: Log) -> None:
    """Or anyone who runs a mail server could have the log say what they like.

    The text of an exception is somebody else's, too; only an entry begins at the margin.
    """
    try:
        raise LookupError(FORGED)
    except LookupError:
        log.logger.exception("it replies %s", FORGED)

    first, *others = log.lines()
    assert first.isprintable()
    assert " ERROR things.test: it replies no\\u000d\\u000a2026-11-25" in first
    assert others[0] == "  Traceback (most recent call last):"
    assert "  LookupError: no\\u000d" in others
    assert all(line.startswith("  ") and line.isprintable() for line in others)
