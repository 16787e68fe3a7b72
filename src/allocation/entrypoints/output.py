"""What is told to a person. Imported by all of the command line, so it imports nothing heavy."""

import re
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pkgutil import resolve_name

import click

from allocation.rooms import OUTPUT

UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Output:
    """Standard output and error as they are: whoever does not read them holds up the work."""

    def opened(self) -> AbstractContextManager[None]:
        """Have it for the length of a command."""
        return nullcontext()

    def say(self, text: str, *, err: bool) -> None:
        """Print a line; whether it can be written or read does not matter for the work."""
        with suppress(OSError):
            click.echo(text, err=err)

    async def keep_pace(self, *, to_the_end: bool = False) -> None:
        """Wait until those who read are not far behind, or have read all.

        :raises OSError: if standard output could not be written
        """


@cache
def output() -> Output:
    """Return the output of the command line: that of a room, if there is one."""
    chosen: Output = resolve_name(OUTPUT)()
    return chosen


def say(text: str, *, err: bool = False) -> None:
    """Print a line at once; whether it can be written or read does not matter for the work."""
    output().say(text, err=err)


def printable(text: str) -> str:
    """Escape what would command a terminal, in a way that JSON has, too."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
