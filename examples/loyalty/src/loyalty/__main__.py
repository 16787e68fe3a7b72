"""Makes `python -m loyalty` the same as the console script."""

from loyalty.entrypoints.app import cli

cli(prog_name="loyalty")
