"""Escapes text for terminals. All of the command line imports this, so it imports nothing heavy.

Standard output escapes control characters in everything that is printed (`nonblocking_output`). It
cannot tell the line breaks of a value from others: values in a line are escaped here.
"""

import re

CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

PRINTED = re.compile(f"(?![\n\t]){CONTROLS.pattern}")


def escape_controls(text: str) -> str:
    """Escape what would control a terminal, in a form that JSON has, too."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_printed(text: str) -> str:
    """Escape what would control a terminal, except line breaks and tabs."""
    return PRINTED.sub(lambda found: escape_controls(found[0]), text)


def escape_lines(text: str, *, indent: int) -> str:
    """Escape each line, and indent all but the first, so that none looks like a line of ours."""
    return f"\n{' ' * indent}".join(map(escape_controls, text.split("\n")))
