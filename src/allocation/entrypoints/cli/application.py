"""What every command does: opens an application as its options say, and prints what came of it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from math import ceil
from typing import Any

import click
import msgspec

from allocation.config import Settings, load
from allocation.entrypoints.cli.main import OF_ROOMS
from allocation.entrypoints.logs import set_up_logging
from allocation.entrypoints.output import output, printable, say
from allocation.service_layer.delivery import Failure

Options = Mapping[str, Any]


def set_up(options: Options, *, log_level: str = "error") -> Settings:
    """Return the settings, with logging as they want it; `log_level` is its default.

    :raises InvalidValue: if a setting is not acceptable
    """
    settings = load(options)
    set_up_logging(settings.log_level or log_level, settings.log_format)
    return settings


async def print_all(lines: AsyncIterator[str | bytes]) -> None:
    """Print lines as fast as they are read: what somebody asked for has to be whole.

    :raises OSError: if they cannot be written; BrokenPipeError if nobody wants more of them
    """
    async for line in lines:
        click.echo(line)
        await output().keep_pace()
    await output().keep_pace(to_the_end=True)


def json_line(row: object) -> bytes:
    """Return a row of a view as JSON, which is UTF-8 everywhere."""
    return printable(msgspec.json.encode(row).decode()).encode()


class Owed:
    """What a command that is done still owes: counted, and told in one line for each fate."""

    def __init__(self) -> None:
        self._retried: Counter[str] = Counter()
        self._parked: Counter[str] = Counter()

    def add(self, failures: Iterable[Failure]) -> None:
        """Count these failures of deliveries."""
        for failure in failures:
            handler, seconds = failure.delivery.handler, failure.retry_in
            if seconds is None:
                self._parked[handler] += 1
            else:
                self._retried[f"{handler} in {ceil(seconds)} s"] += 1

    def show(self) -> None:
        """Say what will be retried and what is parked, on stderr; nothing is lost."""
        look = 'see "allocation deliveries list"' if "deliveries" in OF_ROOMS else "not retried"
        for found, fate, advice in (
            (self._retried, "will be retried", 'run "allocation worker"'),
            (self._parked, "parked", look),
        ):
            if found:
                say(f"{counted(found.total())} {fate}: {', '.join(found)}; {advice}", err=True)


def counted(count: int, one: str = "delivery", many: str = "deliveries") -> str:
    """Return "1 delivery", or as many deliveries as there are, or of something else."""
    return f"{count} {one if count == 1 else many}"
