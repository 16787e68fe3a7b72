"""The command line: turns words into commands, queries and services, and shows what came of it."""

from allocation.entrypoints.allocation import Allocation
from allocation.entrypoints.cli.main import command_line

__all__ = ["cli"]

cli = command_line(Allocation())
