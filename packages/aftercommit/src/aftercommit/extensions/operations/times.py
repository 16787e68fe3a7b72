"""Times as they are given on the command line, as they are stored, and as they are displayed."""

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import sqlalchemy as sa

from aftercommit.deliveries.states import DUE_AT
from aftercommit.deliveries.tables import deliveries

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    number, unit = (text or "")[:-1], (text or "")[-1:]
    if text is not None and not (re.fullmatch("[0-9]{1,6}", number) and unit in UNITS):
        raise click.BadParameter(f"{text!r} is not a number followed by d, h, m or s")
    return None if text is None else int(number) * UNITS[unit]


duration = partial(click.option, metavar="DURATION", callback=_seconds)
"""An option whose value is a duration such as 30d, in seconds."""


class Epoch(sa.TypeDecorator[datetime]):
    """Seconds since 1970, read as a time in UTC."""

    impl = sa.Double
    cache_ok = True

    def process_result_value(self, value: float | None, dialect: sa.Dialect) -> datetime | None:
        """Return the time."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


def in_utc(column: sa.Column[float]) -> sa.Label[Any]:
    """Return a column of seconds since 1970 that is read as a time in UTC."""
    seconds = DUE_AT if column is deliveries.c.available_at else column
    return sa.type_coerce(seconds, Epoch).label(column.name)


def format_duration(seconds: float) -> str:
    """Return a duration in the most telling unit: 3 ms, 2.5 s, 25 s, 4 min."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.{int(seconds < 10)}f} s"
    return f"{seconds * 1000:.0f} ms"
