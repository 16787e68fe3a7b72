"""Copies a SQLite database, as it is at one moment, while others write to it.

    python backup.py allocation.db backup.db

The copy is whole and on the disk when this ends without an error; until then it has another name.
Only its owner can read it.
"""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path


def back_up(database: Path, copy: Path) -> None:
    """Copy it; nobody who works is held up, and the file of before stays until the copy is whole.

    :raises sqlite3.Error: if it cannot be read or written, or the copy is not sound
    """
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(0o600, exist_ok=False)  # SQLite fills an empty file, and leaves its mode
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source:
        source.execute("VACUUM INTO ?", [str(unfinished)])
    with closing(sqlite3.connect(unfinished)) as made:
        if (found := made.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(copy)


if __name__ == "__main__":
    back_up(Path(sys.argv[1]), Path(sys.argv[2]))
