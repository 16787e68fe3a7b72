"""Shows on a terminal how far long work is; scripts are spared."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(
    label: str, length: int, *, rows: Callable[[], int] | None = None
) -> Iterator[Callable[[int], None]]:
    """Show, on stderr, how much of the length is done; yield what has to be told of each step.

    The time left is shown, too, and if `rows` counts what is done, how many a second.
    """
    terminal = bool(sys.stderr and sys.stderr.isatty())
    begin = time.monotonic()

    def pace(_: object) -> str | None:
        seconds = time.monotonic() - begin
        return f"{rows() / seconds:,.0f} rows/s" if rows and seconds else None

    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not terminal, item_show_func=pace
    ) as bar:
        yield bar.update
