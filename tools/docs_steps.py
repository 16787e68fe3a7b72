"""Runs the steps in docs/steps, and writes their output into the page about them.

    python -m tools.docs_steps

It takes some minutes, because the shortest time of several runs counts. A test runs each step once,
and compares everything but the time.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.generated import write_run
from tools.repository import ROOT

FOLDER = ROOT / "docs" / "steps"
STEPS = sorted(FOLDER.glob("[0-9]_*.py"))
PAGE = FOLDER / "README.md"
REPEATS = 15
TIMEOUT_SECONDS = 120

PRICE = re.compile(
    r"^Price: (?:some )?([\d,]+) lines, (?:some )?(\d+) statements, ([\d.]+) ms a", re.M
)


def run(step: Path, folder: Path) -> str:
    """Run a step as a reader does, with a folder for temporary files; return its output.

    It has to succeed, with nothing on stderr, and without leaving files or processes that could
    print.
    """
    outside = {
        n: v for n, v in os.environ.items() if not n.startswith(("ALLOCATION_", "COVERAGE_"))
    }
    places = {"TMPDIR": str(folder), "SQLITE_TMPDIR": str(folder), "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        [sys.executable, step.relative_to(ROOT)],
        cwd=ROOT,
        env=outside | places,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    assert list(folder.iterdir()) == []
    return ended.stdout


def masked(lines: Iterable[str]) -> list[str]:
    """Return these lines without times, and without what the application has, which grows."""
    return [re.sub(r"[\d.]+(?= ms)|(?<=some )[\d,]+", "…", line) for line in lines]


def console(step: Path, printed: str) -> Iterator[str]:
    """Yield a page's part with the output of a run."""
    yield "```console"
    yield f"$ python {step.relative_to(ROOT)}"
    yield from printed.splitlines()
    yield "```"


def table(printed: Mapping[Path, str]) -> Iterator[str]:
    """Yield the table of what each step costs."""
    yield "| step | lines | statements | ms |"
    yield "|---|---|---|---|"
    for step, text in printed.items():
        price = " | ".join(PRICE.findall(text)[0])
        yield f"| [{step.name}]({step.name}) | {price} |"


def milliseconds(printed: str) -> float:
    """Return the time of a registration."""
    return float(PRICE.findall(printed)[0][-1])


def main() -> None:
    """Write all parts of the page."""
    printed: dict[Path, str] = {}
    with TemporaryDirectory() as folder:
        for step in STEPS * REPEATS:  # in turn, so that a disturbance hits all of them
            text = run(step, Path(folder))
            printed[step] = min(printed.get(step, text), text, key=milliseconds)
    write_run("prices", table(printed), PAGE)
    for step, text in printed.items():
        write_run(step.stem, console(step, text), PAGE)


if __name__ == "__main__":
    main()
