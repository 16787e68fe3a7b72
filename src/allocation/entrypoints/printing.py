"""Prints what somebody has asked for: whole, and no faster than it is read."""

import sys
from collections.abc import AsyncIterator

import anyio
import click
import msgspec

from allocation.entrypoints.output import (
    MAX_WAITING,
    PAUSE_SECONDS,
    printable,
    writer_of,
    writers,
)


async def print_all(lines: AsyncIterator[str | bytes]) -> None:
    """Print lines as fast as they are read: a list that somebody asked for has to be whole.

    :raises OSError: if they cannot be written; BrokenPipeError if nobody wants more of them
    """
    async for line in lines:
        click.echo(line)
        await keep_pace()
    await keep_pace(behind=0)


async def print_whole(text: str) -> None:
    """Print a text that is of no use in part.

    :raises OSError: as print_all does
    """
    click.echo(text)
    await keep_pace(behind=0)


async def keep_pace(*, behind: int = MAX_WAITING // 2) -> None:
    """Wait until those who read are at most so many writes behind.

    :raises OSError: if standard output cannot be written
    """
    for writer in writers():
        while writer.behind > behind:  # noqa: ASYNC110 - it is a thread that writes
            await anyio.sleep(PAUSE_SECONDS)
    if (output := writer_of(sys.stdout)) and (error := output.take_error()):
        raise error


def json_line(row: object) -> bytes:
    """Return a row of a view as JSON, which is UTF-8 everywhere."""
    return printable(msgspec.json.encode(row).decode()).encode()
