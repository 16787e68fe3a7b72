"""Knows whether what takes long can have changed since `make test-full` has passed.

    python -m tools.verified copies     # exit code 0: it cannot
    python -m tools.verified --ignore   # what pytest need not run, as its options
    python -m tools.verified --write    # `make test-full` has passed
    python -m tools.verified --write compliance    # this suite has passed, as it is run there

tests/verified.json has a hash of all that the outcome of each suite depends on.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from tools.extensions import PICTURES, tracked
from tools.files import ROOT, write

VERIFIED = ROOT / "tests" / "verified.json"
LEADS_IN = re.compile(r"(?:# |<!-- )(?:extension: .*|end(?: -->)?$)|\bextensions[./]\w+")


@dataclass(frozen=True, slots=True)
class Suite:
    """What takes long, and what it depends on: files, by how their names begin; parts of others."""

    depends_on: tuple[str, ...]
    part: Callable[[str], str | None] = lambda text: None
    tests: tuple[str, ...] = ()  # of the pyramid


def leading_in(text: str) -> str | None:
    """Return the lines of a file that say what belongs to an extension, or that lead into one."""
    return "\n".join(filter(LEADS_IN.search, text.splitlines())) or None


SUITES = {
    "compliance": Suite(("src/sqlalchemy_anyio/", "tests/compliance/", "constraints.txt")),
    "copies": Suite(
        (
            "constraints.txt",
            "docs/tutorial.md",
            "docs/use_case/",
            "pyproject.toml",
            "src/allocation/extensions/__init__.py",
            "tests/copies/",
            "tools/",
        ),
        part=leading_in,
    ),
    "playground": Suite(
        (
            "constraints.txt",
            "docs/guarantees.md",
            "playground/",
            "src/",
            "tests/e2e/conftest.py",
            "tests/e2e/extensions/page/browser.py",
            "tests/e2e/extensions/web/serving.py",
            "tests/e2e/playground/",
            "tests/e2e/processes.py",
            "tests/e2e/warm.py",
        ),
        tests=("tests/e2e/playground",),
    ),
    "site": Suite(
        (
            "CHANGELOG.md",
            "CODE_OF_CONDUCT.md",
            "CONTRIBUTING.md",
            "README",
            "SECURITY.md",
            "constraints.txt",
            "docs/",
            "mkdocs.yml",
            "src/",
            "tests/e2e/extensions/page/browser.py",
            "tests/e2e/extensions/page/test_site.py",
            "tests/integration/test_site.py",
            "tools/site.py",
            "tools/theme/",
        ),
        part=lambda text: "",  # pages lead to files: that they are there, not what is in them
        tests=("tests/integration/test_site.py", "tests/e2e/extensions/page/test_site.py"),
    ),
}


def digest(suite: Suite) -> str:
    """Return the hash of all that a suite depends on."""
    found = ((n, t if n.startswith(suite.depends_on) else suite.part(t)) for n, t in texts())
    return sha256("\0".join(f"{n}\n{t}" for n, t in found if t is not None).encode()).hexdigest()


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file that belongs to the project."""
    for file in tracked():
        if file.suffix not in PICTURES and (ROOT / file).is_file():
            yield str(file), (ROOT / file).read_text()


def is_verified(name: str) -> bool:
    """Return whether the suite has passed with just this."""
    return known().get(name) == digest(SUITES[name])


@cache
def known() -> dict[str, str]:
    """Return the hashes with which the suites have passed."""
    return dict(json.loads(VERIFIED.read_text())) if VERIFIED.exists() else {}


def main(what: str, *which: str) -> int:
    """Write the hashes, or print what need not run, or say whether one is as it was."""
    if what == "--write":
        hashes = known() | {name: digest(SUITES[name]) for name in which or SUITES}
        write(VERIFIED, json.dumps(hashes, indent=2) + "\n")
        return 0
    if what == "--ignore":
        named = [test for name in SUITES if is_verified(name) for test in SUITES[name].tests]
        print(*(f"--ignore={test}" for test in named))
        return 0
    verified = is_verified(what)
    print(f"{what}: {'as when it has passed' if verified else 'to be checked'}")
    return 0 if verified else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
