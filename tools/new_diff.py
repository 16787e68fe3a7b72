"""Shows what has changed here since a project was made: `make new-diff DIR=../shop`.

The project is made twice, from the commit that it says it was made from, and from what is here now;
the difference is a patch, under its names, of the files that it still has.
"""

import os
import re
import subprocess
import sys
import tarfile
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from allocation.extensions import EXTENSIONS
from tools.files import ROOT
from tools.new import OURS, CannotMakeError, from_here, git, make

ORIGIN = re.compile(
    rf"(?P<name>\w+): made from {OURS} \S+, commit (?P<commit>[0-9a-f]+)"
    r".*, with the core(?P<kept>.*)"
)


def new_diff(project: Path) -> str:
    """Return the patch; "" if nothing has changed.

    :raises CannotMakeError: if the project does not say what it was made from, or that is not here
    """
    first = git(project, "log", "--max-parents=0", "--format=%s", check=False)
    if not (origin := ORIGIN.search(first)):
        raise CannotMakeError(f"no first commit in {project} says what it was made from")
    kept = [name for name in origin["kept"].split(", ") if name in EXTENSIONS]
    with TemporaryDirectory() as temporary:
        old, new = Path(temporary) / "old", Path(temporary) / "new"
        make(old, origin["name"].lower(), kept, partial(from_commit, origin["commit"]))
        make(new, origin["name"].lower(), kept, from_now)
        shared = [name for name in git(old, "ls-files").splitlines() if (project / name).is_file()]
        return git(old, f"--work-tree={new}", "diff", "--no-ext-diff", "HEAD", "--", *shared)


def from_commit(commit: str, folder: Path) -> str:
    """Put the files of a commit of this project into a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise CannotMakeError(f"commit {commit} is not here; git fetch may bring it")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return OURS  # and no commit: that is not what has changed


def from_now(folder: Path) -> str:
    """Put the files that are here into a folder."""
    from_here(folder)
    return OURS


if __name__ == "__main__":
    if not (folder := os.environ.get("DIR")):
        sys.exit("error: say which project: make new-diff DIR=../shop")
    try:
        print(new_diff(Path(folder).resolve()), end="")
    except CannotMakeError as error:
        sys.exit(f"error: {error}")
