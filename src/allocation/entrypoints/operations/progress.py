"""Shows on a terminal how far long work is; scripts are spared."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show, on stderr, how much of the length is done; yield what has to be told of each step."""
    terminal = bool(sys.stderr and sys.stderr.isatty())
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not terminal) as bar:
        yield bar.update
