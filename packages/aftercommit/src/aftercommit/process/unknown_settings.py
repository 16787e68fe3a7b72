"""Finds variables that look like settings of an application and are none.

With a misspelt one, the default would hold, and nothing would report it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

OF_OTHERS = re.compile(  # of tests, and what Kubernetes sets for each service of this name
    r"(?s)(\w+_)?TEST_.*|(\w+_)?SERVICE_(HOST|PORT(_\w+)?)=.*"
    r"|(\w+_)?PORT(_\d+_[A-Z]+)?=[a-z]+://.*|(\w+_)?PORT_\d+_[A-Z]+_(PROTO|PORT|ADDR)=.*"
)
MISSPELT = 2  # letters


class UnknownSetting(NamedTuple):
    """A variable, that of a setting which is like it, and whether it is certainly meant."""

    variable: str
    nearest: str | None
    is_misspelt: bool

    @property
    def problem(self) -> str:
        """What to say of it, after its name."""
        meant = f"; is {self.nearest} meant?" if self.nearest else ""
        return f"is not read: no setting of the program or of its extensions has this name{meant}"


def unknown_settings(
    prefix: str, variables: Iterable[str], environment: Mapping[str, str]
) -> Iterator[UnknownSetting]:
    """Yield the variables with a prefix that are not among those of settings, nor their files."""
    known = {name for each in variables for name in (each, f"{each}_FILE")}
    for variable in (each for each in environment if each.startswith(prefix)):
        name, value = variable.removeprefix(prefix), environment[variable]
        if value and variable not in known and not OF_OTHERS.fullmatch(f"{name}={value}"):
            apart, nearest = min((_distance(each, variable), each) for each in known)
            is_near = 4 * apart <= len(name)
            is_misspelt = is_near and apart <= MISSPELT
            yield UnknownSetting(variable, nearest if is_near else None, is_misspelt)


def _distance(one: str, other: str) -> int:
    """Count the letters to add, to leave out and to replace (V. Levenshtein, 1965)."""
    row: list[int] = [*range(len(other) + 1)]
    for count, letter in enumerate(one, 1):
        above, row = row, [count]
        for at, theirs in enumerate(other):
            row.append(min(row[at] + 1, above[at + 1] + 1, above[at] + (letter != theirs)))
    return row[-1]
