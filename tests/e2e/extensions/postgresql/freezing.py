"""Runs the application until it reaches a crash point, and freezes it there with SIGSTOP.

python -m tests.e2e.extensions.postgresql.freezing POINT ARGUMENTS…
"""

import signal
import sys

from allocation.entrypoints.cli import cli
from tests.e2e import crashing

point, *arguments = sys.argv[1:]
crashing.ending = signal.SIGSTOP
crashing.CRASH_POINTS[point].arm()
cli(arguments)
