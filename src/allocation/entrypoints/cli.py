"""The command line: turns words into commands, queries and services, and shows what came of it."""

from aftercommit import command_line

from allocation.entrypoints.app import APP

cli = command_line(APP)
