"""The marks that say what belongs to an extension: without it, what is left is still Python."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tools.extensions import MARK, take_out_of, tracked, unmarked
from tools.files import ROOT


def test_what_is_left_without_an_extension_can_be_parsed() -> None:
    """A formatter moves a comment to the end of a statement, and then it marks half of it."""
    assert list(broken_files()) == []


def test_what_is_no_text_is_left_as_it_is(tmp_path: Path) -> None:
    """A project may have pictures of any kind, and fonts."""
    file = tmp_path / "logo.ico"
    file.write_bytes(b"\x00\xff")

    take_out_of(file, {"web"})

    assert file.read_bytes() == b"\x00\xff"


def broken_files() -> Iterator[str]:
    """Yield the files that make no sense without an extension, or without all, with its name."""
    for name in (ROOT / file for file in tracked() if file.suffix == ".py"):
        lines = name.read_text().splitlines(keepends=True) if name.exists() else []
        marked = {
            each for line in lines if (mark := MARK.match(line)) for each in mark[2].split(", ")
        }
        for names in [*({each} for each in marked), *([marked] if marked else [])]:
            try:
                ast.parse("".join(unmarked(lines, names)))
            except SyntaxError as error:
                yield f"{name}:{error.lineno} without {', '.join(names)}"
