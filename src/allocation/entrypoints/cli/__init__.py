"""The command line: turns words into commands, queries and services, and shows what came of it.

Begin with `main.py`; there is a module for each group of commands, imported when one is called.
"""

from allocation.entrypoints.cli.main import cli

__all__ = ["cli"]
