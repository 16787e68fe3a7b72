"""Text for terminals. All of the command line imports this, so it imports nothing heavy."""

import re

CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    """Escape what would command a terminal, in a way that JSON has, too."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_lines(text: str, *, indent: int) -> str:
    """Escape each line, and indent all but the first: no other line begins where ours do."""
    return f"\n{' ' * indent}".join(map(escape_controls, text.split("\n")))
