"""A length of time, as it is given on the command line."""

from typing import ClassVar

import click


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
