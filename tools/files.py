"""Where the repository is, and how its generated files are written."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write(path: Path, text: str) -> None:
    """Put `text` into a file, in one step: whoever reads meanwhile sees the old one, or the new."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
