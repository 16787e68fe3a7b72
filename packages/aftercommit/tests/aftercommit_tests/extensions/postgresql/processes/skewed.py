"""Runs the application in a process whose clock is wrong by some seconds.

python -m aftercommit_tests.extensions.postgresql.processes.skewed SECONDS ARGUMENTS…
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from aftercommit import Sources, command_line

from aftercommit_tests.things.app import APP, bootstrap

seconds, *arguments = sys.argv[1:]
error = timedelta(seconds=float(seconds))
sources = Sources(now=lambda: datetime.now(UTC) + error)


def open_skewed(app: Any, settings: Any, *, observers: Any, delivers: bool) -> Any:
    """Open the application with the only clock that the engine reads itself."""
    return bootstrap(settings, observers=observers, sources=sources)


command_line(APP.with_parts(open=open_skewed))(arguments)
