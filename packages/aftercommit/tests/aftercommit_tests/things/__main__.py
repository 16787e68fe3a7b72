"""Makes `python -m aftercommit_tests.things` its command."""

from aftercommit_tests.things.app import cli

cli(prog_name="things")
