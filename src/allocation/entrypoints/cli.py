"""The command line: turns words into commands, queries and services, and shows what came of it."""

from allocation.entrypoints.allocation import Allocation
from allocation.process.cli.main import command_line

cli = command_line(Allocation())
