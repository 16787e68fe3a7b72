"""Makes `python -m allocation` the same as the console script."""

from allocation.entrypoints.app import cli

cli(prog_name="allocation")
