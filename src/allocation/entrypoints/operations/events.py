"""The commands about the history of events."""

from typing import ClassVar

import click

from allocation.adapters.operations.decisions import prune_events
from allocation.bootstrap import Application
from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.output import say
from allocation.entrypoints.running import with_application


class Duration(click.ParamType[float]):
    """A length of time such as 30d, in seconds."""

    name = "duration"
    units: ClassVar = {"d": 86400, "h": 3600, "m": 60, "s": 1}

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        number, unit = value[:-1], value[-1:]
        if not (number.isascii() and number.isdigit() and len(number) < 7 and unit in self.units):
            self.fail(f"{value!r} is not a number followed by d, h, m or s", param, ctx)
        return int(number) * self.units[unit]


@click.group()
def events() -> None:
    """Look after the history of events."""


@events.command()
@click.option("--older-than", type=Duration(), required=True, help="Such as 30d, 12h, 15m or 45s.")
@click.pass_obj
def prune(options: Options, older_than: float) -> None:
    """Delete old events. Those with a delivery that is still owed are kept."""

    async def work(application: Application) -> int:
        return await prune_events(application.database, older_than=older_than)

    count = with_application(set_up(options), work)
    say(f"{count} {'event' if count == 1 else 'events'} deleted")
