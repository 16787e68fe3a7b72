"""Runs the application until it reaches a crash point, and freezes it there with SIGSTOP.

python -m aftercommit_tests.extensions.postgresql.processes.freezing POINT ARGUMENTS…
"""

import signal
import sys

from aftercommit_tests import crashing
from aftercommit_tests.things.app import cli

point, *arguments = sys.argv[1:]
crashing.ending = signal.SIGSTOP
crashing.CRASH_POINTS[point].arm()
cli(arguments)
