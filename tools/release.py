"""Makes everything that is released, and tests it: `make release`. Then only tag and upload.

    python -m tools.release        # and list what is still to do before the upload
    python -m tools.release TAG    # of a tag, such as aftercommit-0.3.0: refuse it if anything is

The folder `dist` then contains a folder for each distribution, named like its tag, with a wheel and
the sources; the requirements with hashes; and a list of everything in the image (an SBOM), in the
format CycloneDX. They are made from the last commit, in a clone, so no other file can get into
them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.install import OPTIONS, pip, pyprojects
from tools.repository import ROOT
from tools.requirements import FILE

DIST = ROOT / "dist"
BIN = Path(sys.executable).parent
ADDRESS = "RELEASE_ADDRESS"
"""The variable with the repository's address, as the workflow knows it."""
PLACEHOLDER = ".example/"

Projects = dict[str, Any]


def main(tag: str | None = None) -> None:
    """Make, check and test; then list what is still to do, which with a tag is an error."""
    projects = {each["project"]["name"]: each["project"] for each in pyprojects().values()}
    if run("git", "status", "--porcelain"):
        sys.exit("commit first: only committed changes are released")
    shutil.rmtree(DIST, ignore_errors=True)
    with TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        run("git", "clone", "--quiet", str(ROOT), str(clone))
        packages = build(clone)
        check(packages)
        programs = install(Path(folder), packages)
        try_commands(programs, clone)
        write_sbom(programs, projects["allocation"]["version"])
    shutil.copy(FILE, DIST)
    print(f"made in {DIST}: {', '.join(sorted(path.name for path in DIST.iterdir()))}")
    if (remaining := [*to_do(projects, tag)]) and tag:
        sys.exit("\n".join(remaining))
    print("\n".join(["before the upload:", *remaining] if remaining else ["ready to be uploaded"]))


def build(clone: Path) -> list[Path]:
    """Build the wheel and the sources of each distribution, and return all these files."""
    for project in (
        clone / "packages" / "sqlalchemy-anyio",
        clone / "packages" / "aftercommit",
        clone,
    ):
        run(sys.executable, "-m", "hatchling", "build", "-d", str(clone / "made"), cwd=project)
    for file in (clone / "made").iterdir():
        name, version = re.fullmatch(
            r"(\w+)-([\w.]+?)(?:-py3-none-any\.whl|\.tar\.gz)", file.name
        ).groups()  # type: ignore[union-attr]
        folder = DIST / f"{name.replace('_', '-')}-{version}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(file, folder)
    return sorted(DIST.glob("*/*"))


def check(packages: list[Path]) -> None:
    """Refuse what an index would refuse or show badly, and wheels with missing or extra files."""
    run(str(BIN / "twine"), "check", "--strict", *map(str, packages))
    run(
        str(BIN / "check-wheel-contents"),
        *(str(each) for each in packages if each.suffix == ".whl"),
    )


def install(folder: Path, packages: list[Path]) -> Path:
    """Install the wheels and what they require in an empty environment; return its programs."""
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    command = (str(environment / "bin" / "python"), str(pip()))
    hashed = ("--require-hashes", "--only-binary", ":all:", "-r", str(FILE))
    run(*command, "install", *OPTIONS, *hashed)
    links = [f"--find-links={each}" for each in {package.parent for package in packages}]
    names = {each.parent.name.rpartition("-")[0] for each in packages}
    run(*command, "install", *OPTIONS, "--no-index", "--no-deps", *links, *sorted(names))
    run(*command, "check")
    return environment / "bin"


def try_commands(programs: Path, clone: Path) -> None:
    """Run the commands that the READMEs of the application and of the engine show first."""
    user = ("register-user", "Иван", "ivan@example.com")
    for arguments in (("demo",), user, ("trace", "ivan@example.com"), ("check",)):
        run(str(programs / "allocation"), *arguments, cwd=clone.parent)
    example = clone / "packages" / "aftercommit" / "examples" / "one_file.py"
    run(str(programs / "python"), str(example), "7", cwd=clone.parent)


def write_sbom(programs: Path, version: str) -> None:
    """List what is installed, with versions, licences and dependencies."""
    file = DIST / f"allocation-{version}.cdx.json"
    options = ("--output-reproducible", "--mc-type", "application", "--output-format", "JSON")
    project = ("--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(file))
    run(str(BIN / "cyclonedx-py"), "environment", *options, *project, str(programs / "python"))


def to_do(projects: Projects, tag: str | None) -> Iterator[str]:
    """Yield what keeps one distribution, or any, from being released."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    tags = {f"{name}-{each['version']}": each for name, each in projects.items()}
    if tag and tag not in tags:
        yield f"the tag is {tag}, but the versions are {', '.join(tags)}"
    for name, project in tags.items():
        if tag in (name, None):
            title = name[::-1].replace("-", " ", 1)[::-1]
            if not re.search(
                rf"^## {re.escape(title)} – \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE
            ):
                yield f'CHANGELOG.md has no heading "## {title} – YEAR-MONTH-DAY"'
            source = project["urls"]["Source"]
            if PLACEHOLDER in source or source != os.environ.get(ADDRESS, source):
                yield f"{name} says that its source is {source}: see Releasing in CONTRIBUTING.md"


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command that has to succeed, and return its output."""
    others = ("ALLOCATION_", "PYTHONPATH")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(others)}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    os.chdir(ROOT)
    main(*sys.argv[1:])
