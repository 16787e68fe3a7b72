"""Writes requirements.txt: the image's packages from others, with the hashes of their files.

    python -m tools.requirements                              # of allocation[extensions]
    python -m tools.requirements "aftercommit[postgresql]"    # of another one of ours, printed

The versions are those of constraints.txt. `pip install --require-hashes -r requirements.txt`
accepts no other file, wherever it comes from; our own wheels are installed afterwards, with
`--no-deps`.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools.install import PINNED, needed, pyprojects
from tools.repository import ROOT

FILE = ROOT / "requirements.txt"
IMAGE = "allocation[extensions]"
HEADING = (
    "# Made by `make requirements`: what {} needs of others, for `pip install --require-hashes`.\n"
)
COMPILE = (
    str(Path(sys.executable).with_name("uv")),
    "pip",
    "compile",
    "--quiet",
    "--no-annotate",
    "--no-header",  # otherwise, it would contain the command, with paths
)
OPTIONS = (
    "--generate-hashes",
    "--universal",  # for each system and Python that we support, with markers
    "--no-emit-index-url",
    "--no-emit-find-links",
)


def requirements(wanted: str) -> str:
    """Return the requirements of one of our distributions, direct and indirect, with hashes."""
    projects = {each["project"]["name"]: each["project"] for each in pyprojects().values()}
    [oldest] = {each["requires-python"].removeprefix(">=") for each in projects.values()}
    command = [*COMPILE, *OPTIONS, "--python-version", oldest, "--constraints", str(PINNED), "-"]
    given = "\n".join(sorted({*needed(projects, wanted)}))
    made = subprocess.run(command, check=True, input=given, stdout=subprocess.PIPE, text=True)
    return HEADING.format(wanted) + made.stdout


if __name__ == "__main__":
    os.chdir(ROOT)
    if len(sys.argv) > 1:
        print(requirements(sys.argv[1]), end="")
    else:
        FILE.write_text(requirements(IMAGE))
