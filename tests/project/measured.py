"""The parts of the pages that come from a run: each is written by whoever makes the run.

A part stands between `<!-- measured: NAME -->` and `<!-- end -->`. A test makes the run anew and
compares what does not depend on the machine.
"""

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
LIFE = ROOT / "docs" / "life-of-a-delivery.md"
PRICE = ROOT / "docs" / "price.md"


def measured(name: str, page: Path = README) -> list[str]:
    """Return the lines of a part, as the page has them."""
    _, lines, _ = _divided(name, page)
    return lines.splitlines()


def write(name: str, lines: Iterable[str], page: Path = README) -> None:
    """Put these lines in their place in the page."""
    before, _, after = _divided(name, page)
    page.write_text(before + "".join(f"{line}\n" for line in lines) + after)


def _divided(name: str, page: Path) -> tuple[str, str, str]:
    pattern = rf"(.*<!-- measured: {name} -->\n)(.*?)(<!-- end -->.*)"
    found = re.fullmatch(pattern, page.read_text(), re.DOTALL)
    assert found, f"{page.name} has no part {name}"
    return found[1], found[2], found[3]
