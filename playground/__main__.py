"""Starts the playground: a command of the program's own command line, with its exit codes."""

import sys

from allocation.entrypoints.app import cli
from playground.cli import playground

if __name__ == "__main__":
    cli.add_command(playground)
    cli(["playground", *sys.argv[1:]], prog_name="python -m playground")
