"""Text for terminals. All of the command line imports this, so it imports nothing heavy.

Standard output escapes what would command a terminal, whoever prints it (`nonblocking_output`). It
cannot tell the line breaks of a value from others: who prints a line with one escapes it here.
"""

import re

CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

PRINTED = re.compile(f"(?![\n\t]){CONTROLS.pattern}")


def escape_controls(text: str) -> str:
    """Escape what would command a terminal, in a way that JSON has, too."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_printed(text: str) -> str:
    """Escape what would command a terminal, but leave line breaks and tabs."""
    return PRINTED.sub(lambda found: escape_controls(found[0]), text)


def escape_lines(text: str, *, indent: int) -> str:
    """Escape each line, and indent all but the first: no other line begins where ours do."""
    return f"\n{' ' * indent}".join(map(escape_controls, text.split("\n")))
