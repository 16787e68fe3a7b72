"""Each room can be taken out of a copy, as README says, and the rest still works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from allocation.rooms import ROOMS

ROOT = Path(__file__).parents[2]
FOLDERS = ("adapters", "entrypoints")


def take_out(copy: Path, room: str) -> None:
    """Delete a room's line in the table, and its folders."""
    table = copy / "allocation" / "rooms.py"
    line = re.compile(rf'^    "{room}": Room\(\n.*?^    \),\n', re.MULTILINE | re.DOTALL)
    text, count = line.subn("", table.read_text())
    assert count == 1
    table.write_text(text)
    folders = [copy / "allocation" / layer / room for layer in FOLDERS]
    for folder in (each for each in folders if each.exists()):  # Trio has none
        shutil.rmtree(folder)


@pytest.mark.parametrize("rooms", [*([room] for room in ROOMS), list(ROOMS)], ids="-".join)
def test_a_room_can_be_taken_out(rooms: list[str], tmp_path: Path) -> None:
    """Whoever copies this must be able to do without what they do not need."""
    copy = tmp_path / "src"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for room in rooms:
        take_out(copy, room)

    for command in ("demo", "--help"):
        result = subprocess.run(
            [sys.executable, "-m", "allocation", command],
            cwd=tmp_path,
            env={"PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert (result.returncode, result.stderr) == (0, ""), rooms
    source = "\n".join(file.read_text() for file in copy.rglob("*.py"))
    assert [room for room in rooms if f"allocation.adapters.{room}" in source] == []
    assert [room for room in rooms if f"allocation.entrypoints.{room}" in source] == []
