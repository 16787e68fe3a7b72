"""What several commands have in common."""

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec

import click
from rich.console import Console
from rich.progress import Progress, TextColumn

from allocation.bootstrap import Application
from allocation.entrypoints.cli.common import Options, load_settings
from allocation.entrypoints.runtime import run_with_application

P = ParamSpec("P")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def with_application(
    work: Callable[Concatenate[Application, P], Awaitable[None]],
) -> Callable[..., None]:
    """Turn work with an application into what a command calls."""

    @click.pass_obj
    @wraps(work)
    def run(options: Options, /, *args: P.args, **kwargs: P.kwargs) -> None:
        run_with_application(load_settings(options), lambda a: work(a, *args, **kwargs))

    return run


def is_wanted(count: int, *, yes: bool) -> bool:
    """Ask a person, if there is one, and something to ask about."""
    is_asked = count and not yes and sys.stdin.isatty()
    return not is_asked or click.confirm("Go on?", err=True)


@contextmanager
def progress(
    label: str, length: int, *, rows: Callable[[], int] = int
) -> Iterator[Callable[[int], object]]:
    """Show, on a terminal, how much of the length is done; yield what is called with each step.

    The time left is shown, too, and if `rows` counts what is done, how many a second.
    """
    columns = *Progress.get_default_columns(), TextColumn("{task.fields[pace]}")
    is_shown = bool(sys.stderr and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), disable=not is_shown) as bar:
        task = bar.add_task(label, total=length, pace="")

        def advance(count: int) -> None:
            done, seconds = rows(), bar.tasks[0].elapsed
            pace = f"{done / seconds:,.0f} rows/s" if done and seconds else ""
            bar.update(task, advance=count, pace=pace)

        yield advance
        advance(0)
