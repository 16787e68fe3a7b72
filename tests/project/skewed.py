"""Runs the application in a process whose clock is wrong by some seconds.

python -m tests.project.skewed SECONDS ARGUMENTS…
"""

import sys
from datetime import datetime, timedelta, tzinfo

from allocation import bootstrap
from allocation.entrypoints.cli import cli

seconds, *arguments = sys.argv[1:]


class WrongClock(datetime):
    """The only clock that the product reads itself."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "WrongClock":
        return super().now(tz) + timedelta(seconds=float(seconds))


bootstrap.datetime = WrongClock  # type: ignore[attr-defined]
cli(arguments)
