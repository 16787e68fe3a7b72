"""Runs the application in a process whose clock is wrong by some seconds.

python -m aftercommit_tests.extensions.postgresql.processes.skewed SECONDS ARGUMENTS…
"""

import sys
from datetime import datetime, timedelta, tzinfo

from aftercommit import clock_and_ids

from aftercommit_tests.things.app import cli

seconds, *arguments = sys.argv[1:]


class WrongClock(datetime):
    """The only clock that an application of the engine reads itself."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "WrongClock":
        return super().now(tz) + timedelta(seconds=float(seconds))


assert vars(clock_and_ids)["datetime"] is datetime  # or nothing would be wrong
vars(clock_and_ids)["datetime"] = WrongClock
cli(arguments)
