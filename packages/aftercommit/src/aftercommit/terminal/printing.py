"""What commands print: rows as lines of JSON, and what remains to be done."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from math import ceil

import click
import msgspec

from aftercommit.claims import Failure
from aftercommit.envelopes import MessageOrigin
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.nonblocking_output import MAX_WAITING, drain

CLI = MessageOrigin(source="cli")
RETRIED, PARKED = "will be retried", "parked"


async def print_all(lines: AsyncIterator[str | bytes]) -> None:
    """Print lines as fast as they are read: requested output has to be complete.

    :raises OSError: if they cannot be written; BrokenPipeError if the reader has gone
    """
    async for line in lines:
        click.echo(line)
        await drain(MAX_WAITING // 2)
    await drain()


def json_line(row: object) -> bytes:
    """Return a row of a view as JSON in UTF-8."""
    return escape_controls(msgspec.json.encode(row).decode()).encode()


def pending(failures: Iterable[Failure]) -> Counter[tuple[str, str]]:
    """Count what remains after these failures, by what will happen and by handler."""
    return Counter(
        (PARKED, failure.delivery.handler)
        if failure.retry_in is None
        else (RETRIED, f"{failure.delivery.handler} in {ceil(failure.retry_in)} s")
        for failure in failures
    )


def pluralize(count: int, one: str = "delivery", many: str = "deliveries") -> str:
    """Return "1 delivery", or a number of deliveries, or of something else."""
    return f"{count} {one if count == 1 else many}"
