"""What is printed cannot command the terminal of anyone who reads it, whatever prints it."""

import io
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import click
import pytest

from aftercommit_tests.command_line import own_logging
from aftercommit_tests.inside.process import drawing, lifespan, set_up_logging

HOSTILE = "\x1b]0;owned\x07\x9b2J\u202e\ud800\rИван"
ESCAPED = "\\u001b]0;owned\\u0007\\u009b2J\\u202e\\ud800\\u000dИван"


def printed(write: Callable[[], object]) -> str:
    """Return what a command writes that is called in this way."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    with redirect_stdout(stream), redirect_stderr(stream), lifespan():
        write()
    stream.detach()
    return raw.getvalue().decode()


@pytest.mark.parametrize(
    "write",
    [
        lambda: click.echo(HOSTILE),
        lambda: click.echo(HOSTILE, err=True),
        lambda: print(HOSTILE),  # noqa: T201 - as a handler may
        lambda: sys.stderr.write(HOSTILE + "\n"),
        lambda: sys.stdout.writelines([HOSTILE, "\n"]),
    ],
)
def test_whatever_prints_a_text_of_a_stranger_cannot_forget_to_escape_it(
    write: Callable[[], object],
) -> None:
    """An address or a name comes from anybody, and an operator's terminal does what it is told."""
    assert printed(write) == f"{ESCAPED}\n"


def test_the_log_of_a_library_is_escaped_in_every_format() -> None:
    """The formatter may be anybody's."""

    def log() -> None:
        set_up_logging("things", "info", "plain", {"plain": logging.Formatter})
        logging.getLogger("things").info(HOSTILE)

    with own_logging():
        assert printed(log) == f"{ESCAPED}\n"


def test_lines_and_tabs_stay_and_what_draws_may_draw() -> None:
    """A help has many lines; a progress bar moves the cursor, and escapes what others have said."""

    def draw() -> None:
        with drawing(sys.stdout):
            sys.stdout.write("\x1b[1A\rdrawn\n")
        sys.stdout.write("\x1b[1A\n")

    assert printed(lambda: click.echo("a\n\tb")) == "a\n\tb\n"
    assert printed(draw) == "\x1b[1A\rdrawn\n\\u001b[1A\n"
