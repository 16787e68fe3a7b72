"""Makes `python -m shop` the same as the console script."""

from shop.entrypoints.app import cli

cli(prog_name="shop")
