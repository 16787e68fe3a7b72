"""The parts of the README that come from a run: each is written by the script that makes the run.

A part stands between `<!-- measured: NAME -->` and `<!-- end -->`. A test makes the run anew and
compares what does not depend on the machine.
"""

import re
from collections.abc import Iterable
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def measured(name: str) -> list[str]:
    """Return the lines of a part, as README has them."""
    _, lines, _ = _divided(name)
    return lines.splitlines()


def write(name: str, lines: Iterable[str]) -> None:
    """Put these lines in their place in the README."""
    before, _, after = _divided(name)
    README.write_text(before + "".join(f"{line}\n" for line in lines) + after)


def _divided(name: str) -> tuple[str, str, str]:
    pattern = rf"(.*<!-- measured: {name} -->\n)(.*?)(<!-- end -->.*)"
    found = re.fullmatch(pattern, README.read_text(), re.DOTALL)
    assert found, f"README has no part {name}"
    return found[1], found[2], found[3]
