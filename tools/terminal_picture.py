"""Draws the terminal that README shows first: a picture of the text that stands below it.

A test runs the command of that text, so the picture, too, shows what is really printed.
"""

import re
from html import escape

from tools.repository import ROOT

PICTURE = ROOT / "docs" / "playground" / "kill.svg"
SHOWN = re.compile(r"```console\n\$ git clone .*\n(\$ make kill\n[^`]*)```")
LETTER, LINE, EDGE, COLUMNS = 8.4, 20, 18, 80
COLOURS = {"$ ": "#7ee787", "SIGKILL": "#ff7b72", "killed at": "#7ee787", "[": "#79c0ff"}
TEXT = "#c9d1d9"


def picture() -> str:
    """Return the picture: an SVG without fonts, scripts or links of others."""
    [shown] = SHOWN.findall((ROOT / "README.md").read_text())
    lines = shown.splitlines()
    width, height = COLUMNS * LETTER + 2 * EDGE, len(lines) * LINE + 2 * EDGE
    drawn = "\n".join(
        f'<text x="{EDGE}" y="{EDGE + LINE * number}" fill="{colour(line)}">{text(line)}</text>'
        for number, line in enumerate(lines, start=1)
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}">
<title>make kill</title>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14">
{drawn}
</g>
</svg>
"""


def text(line: str) -> str:
    """Return a line as XML, with all of its spaces."""
    return escape(line).replace(" ", "\N{NO-BREAK SPACE}")


def colour(line: str) -> str:
    """Return the colour of a line."""
    return next((each for begin, each in COLOURS.items() if line.startswith(begin)), TEXT)
