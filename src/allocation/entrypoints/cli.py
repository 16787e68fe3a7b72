"""The command line: turns words into commands, queries and services, and shows what came of it."""

from aftercommit import command_line

from allocation.entrypoints.allocation import Allocation

cli = command_line(Allocation())
