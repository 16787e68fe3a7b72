"""Reads what a page shows of the console: commands after `$`, each with what it prints."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed, and what it prints."""

    line: str
    shown: tuple[str, ...]


def commands(block: str) -> Iterator[Command]:
    r"""Yield the commands of a console; one that ends with a \ goes on in the next line."""
    whole = re.sub(r"\\\n +", "", block)
    for each in re.split(r"^\$ ", whole, flags=re.MULTILINE)[1:]:
        line, *shown = each.splitlines()
        yield Command(line, tuple(shown))


def shows(printed: str, shown: tuple[str, ...]) -> bool:
    """Compare lines, in any order, for handlers run concurrently.

    `…` stands for anything in a line; as a line, for any others.
    """
    left = printed.splitlines()
    for line in (line for line in shown if line != "…"):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        match = next((candidate for candidate in left if pattern.fullmatch(candidate)), None)
        if match is None:
            return False
        left.remove(match)
    return "…" in shown or not left
