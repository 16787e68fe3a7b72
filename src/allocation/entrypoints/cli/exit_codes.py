"""What a script is told: one line on stderr for an error, and an exit code for its kind."""

import traceback
from typing import Any

import click

from allocation.domain.exceptions import Conflict, Malformed, Refused, Unavailable
from allocation.entrypoints.output import printable, say

REFUSED, MALFORMED, UNAVAILABLE, BUG, INTERRUPTED = 1, 2, 3, 70, 130


def exit_code(error: Exception) -> int:
    """Return the exit code for the kind of an error. Nothing else maps them."""
    match error:
        case Refused():
            return REFUSED
        case Malformed():
            return MALFORMED
        case Unavailable() | Conflict() | OSError():
            return UNAVAILABLE
    return BUG  # a Mistake, too


class ExitCodes(click.Group):
    """Turns whatever its commands raise into a line and an exit code. The only place that does."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            pass  # whoever reads has seen enough
        except KeyboardInterrupt as error:
            if notes := _notes(error):
                say(f"interrupted{notes}", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            ctx.exit(_shown(error))


def _shown(error: Exception) -> int:
    code, reason = exit_code(error), str(error)
    if code == BUG:
        say(traceback.format_exc().rstrip(), err=True)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    say(f"error: {printable(reason)}{_notes(error)}", err=True)
    return code


def _notes(error: BaseException) -> str:
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
