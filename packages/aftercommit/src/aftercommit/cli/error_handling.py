"""What a script gets: for each error one line on stderr, and an exit code by its kind."""

import os
import sys
from contextlib import suppress
from typing import Any

import click

from aftercommit.errors import WiringError, kind_of
from aftercommit.terminal.escaping import escape_controls, escape_lines

REFUSED, MALFORMED, UNAVAILABLE, BUG, INTERRUPTED = 1, 2, 3, 70, 130


def exit_code(error: Exception) -> int:
    """Return the exit code for the kind of an error. Only here are kinds mapped to codes."""
    match kind_of(error):
        case "refused":
            return REFUSED
        case "invalid":
            return MALFORMED
        case "transient" | "unavailable" | "conflict":
            return UNAVAILABLE
    return UNAVAILABLE if isinstance(error, OSError) else BUG


class ErrorHandlingGroup(click.Group):
    """Turns every exception of a command into a line and an exit code. Nothing else does."""

    def main(self, *arguments: Any, **extra: Any) -> Any:
        """Run the program. Its own help is printed before a command is known."""
        try:
            return super().main(*arguments, **extra)
        except OSError as error:
            with suppress(OSError):  # the log may be on the same full disk
                _report(error)
            for stream in (sys.stdout, sys.stderr):  # what is left in the buffers is lost
                with suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            sys.exit(exit_code(error))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments that are not text: neither a database nor a terminal accepts them."""
        try:
            "".join(args).encode()
        except UnicodeError:
            raise click.UsageError("an argument is not valid UTF-8", ctx) from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was called."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            pass  # the reader of the pipe has closed it
        except KeyboardInterrupt as error:
            if notes := _error_notes(error):
                click.echo(f"interrupted{notes}", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            ctx.exit(_report(error))


def _report(error: Exception) -> int:
    code, reason = exit_code(error), str(error)
    if code == BUG and not isinstance(error, WiringError):  # this error names the setting to change
        from traceback import format_exc  # imported only for a bug: `--help` has to be fast

        click.echo(escape_lines(format_exc().rstrip(), indent=2), err=True)
        reason = f"{type(error).__name__}: {error}"
    reason = " ".join(reason.split()) if code == BUG else reason
    click.echo(escape_controls(f"error: {reason}{_error_notes(error)}"), err=True)
    return code


def _error_notes(error: BaseException) -> str:
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
