"""Makes a new project of this one: `make new DIR=../shop`.

It is made from the files that are here, so it has what is tested here. Its name is the folder's,
without `-` and `_`, or NAME=. EXTENSIONS="postgresql web" keeps these extensions and what they
need, EXTENSIONS="" keeps the core only; without it, the terminal is asked.

All is made in a folder beside the new one, and moved there at the end: a refusal writes nothing.
What is about this project only is named in `LEFT_OUT`, or marked `extension: reference`.
"""

import keyword
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from allocation.extensions import EXTENSIONS
from tools.extensions import BESIDE, PICTURES, unmarked
from tools.files import ROOT

OURS = "allocation"
REFERENCE = "reference"  # the mark of what is about this project only
LEFT_OUT = re.compile(  # what would be untrue of another project, or is about this one
    r"(CHANGELOG|CODE_OF_CONDUCT|CONTRIBUTING|SECURITY|README(\.ru)?)\.md|CITATION\.cff|mkdocs\.yml"
    r"|\.github/(ISSUE_TEMPLATE/.*|PULL_REQUEST_TEMPLATE\.md)|benchmarks/.*|docs/.*\.ru\.md"
    r"|docs/(performance|price|steps|page|playground|use_case)/.*|docs/decisions/001[78]-\w+\.md"
    r"|docs/(README|anyio|extensions|faq|from-\w+-\w+|getting-started|glossary|last-coupon|make-it-yours"
    r"|performance|price|releasing|testing|tutorial|use-case)\.md"
    r"|tools/(new|new_diff|site|verified)\.py|tools/new_project\.md|tools/theme/.*"
    r"|tests/(copies|new)/.*|tests/e2e/(environments|killed|steps|test_readme|test_steps|test_wheel)\.py"
    r"|tests/(capacity|measured|translations|tutorials)\.py|tests/verified\.json"
    r"|tests/integration/test_(by_hand|last_coupon|price|site)\.py"
    r"|tests/e2e/extensions/(page/test_site|web/test_page_over_http)\.py"
    r"|tests/unit/test_(glossary|performance|release|shape|translations)\.py"
)
README = ROOT / "tools" / "new_project.md"
LICENCE = "LICENSE"  # its notice is ours, and has to stay
PARTS = {"users", "user", "coupons", "coupon", *EXTENSIONS, *BESIDE}  # that can be taken out
TAKEN = {"tests", "tools", "src", "docs", *PARTS, *sys.stdlib_module_names}
LONGEST = 20


class CannotMakeError(Exception):
    """Why no project is made: what was wrong, and what to do."""


def name_from(text: str) -> str:
    """Return the one word by which package, command, database and queues will be called.

    :raises CannotMakeError: if it can be no package, or is one that is there already
    """
    name = re.sub("[-_]", "", text.lower())
    if not re.fullmatch(r"[a-z][a-z0-9]+", name) or keyword.iskeyword(name):
        raise CannotMakeError(f"{text!r} can be no name: it takes a word of a-z and 0-9; say NAME=")
    if len(name) > LONGEST:
        raise CannotMakeError(f"{name!r} is longer than {LONGEST} characters; say NAME=")
    if name in TAKEN or name == OURS or _is_installed(name):
        raise CannotMakeError(f"{name!r} is the name of another package; say NAME=")
    return name


def _is_installed(name: str) -> bool:
    """Tell whether an import of it would find somebody else's package here."""
    found = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True)
    return found.returncode == 0


def chosen(text: str | None) -> list[str]:
    """Return the extensions that are wanted, with those that they need; ask if nobody has said.

    :raises CannotMakeError: if one is not known
    """
    if text is None:
        if not sys.stdin.isatty():
            raise CannotMakeError('which to keep? EXTENSIONS="postgresql web", or EXTENSIONS=""')
        text = input(f"Which extensions to keep ({', '.join(EXTENSIONS)})? [none] ")
    wanted = [*dict.fromkeys(text.replace(",", " ").split())]
    if unknown := [name for name in wanted if name not in EXTENSIONS]:
        known = ", ".join(EXTENSIONS)
        raise CannotMakeError(f"there is no extension {unknown[0]!r}; there are: {known}")
    for name in wanted:  # which grows meanwhile
        wanted += [each for each in EXTENSIONS[name].needs if each not in wanted]
    return wanted


def make(target: Path, name: str, kept: Iterable[str], put: Callable[[Path], str]) -> None:
    """Make the project, of the files that `put` puts into a folder; it returns where from."""
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        origin = f"{put(folder)}, with {', '.join(['the core', *kept])}"
        readme = (folder / README.relative_to(ROOT)).read_text()
        leave_out(folder)
        (folder / "README.md").write_text(readme)
        commit(folder, "What stays")
        gone = [*(each for each in EXTENSIONS if each not in {*kept}), *BESIDE]
        python(folder, "-m", "tools.extensions", "without", *gone)
        rename(folder, name)
        finish(folder, name, origin)
        folder.rename(target)


def from_here(folder: Path) -> str:
    """Put the files that are here into a folder."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    changed = " and changes" if git(ROOT, "status", "--porcelain") else ""
    return f"{OURS} {version(OURS)}, commit {git(ROOT, 'rev-parse', 'HEAD').strip()}{changed}"


def leave_out(folder: Path) -> None:
    """Delete what is about this project only: files, folders that are empty then, marked lines."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif LEFT_OUT.fullmatch(path.relative_to(folder).as_posix()):
            path.unlink()
        else:
            rewrite(path, lambda text: "".join(unmarked(text.splitlines(True), {REFERENCE})))


def rename(folder: Path, name: str) -> None:
    """Rename files, folders and what is in them; the folders last."""
    shutil.rmtree(folder / ".git")
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.name != LICENCE:
            rewrite(path, lambda text: renamed(text, name))
        if OURS in path.name:
            path.rename(path.with_name(renamed(path.name, name)))


def renamed(text: str, name: str) -> str:
    """Return a text with another name in the place of ours, in all its spellings."""
    for spelled in (str.lower, str.title, str.upper):
        text = text.replace(spelled(OURS), spelled(name))
    return text


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Change a text; a picture is none."""
    if path.suffix in PICTURES:
        return
    try:
        old = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # no text
        return
    if (new := change(old)) != old:
        path.write_text(new, encoding="utf-8")


def finish(folder: Path, name: str, origin: str) -> None:
    """Say where it is from, put everything in order, and commit it: the first of its history."""
    rewrite(folder / "README.md", lambda text: text.replace("{origin}", origin))
    rewrite(folder / "pyproject.toml", lambda text: settled(text, name))
    for work in (["check", "--fix-only"], ["format"]):  # other names stand in other places
        python(folder, "-m", "ruff", *work, "--quiet", ".")
    python(folder, "-m", "tests.generated")
    commit(folder, f"{name.title()}: made from {origin}")


def settled(configuration: str, name: str) -> str:
    """Return pyproject.toml with a description of its own; longer names make longer lines."""
    new = re.sub(r"(?m)^description = .*", f'description = "The service {name}"', configuration)
    if len(name) > len(OURS):
        reason = "# its name is longer than the one that the lines were written for"
        new = new.replace("\nignore = [\n", f'\nignore = [\n    "E501",  {reason}\n', 1)
    return new


def commit(folder: Path, message: str) -> None:
    """Put all into a repository of its own, in one commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    author = ["-c", "user.name=new", "-c", "user.email=new@localhost"]
    who = [] if git(folder, "var", "GIT_AUTHOR_IDENT", check=False) else author
    git(folder, *who, "commit", "--quiet", "--no-verify", "--message", message)


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    command = ["git", "-c", "core.quotePath=off", *arguments]
    return subprocess.run(command, cwd=folder, check=check, capture_output=True, text=True).stdout


def python(folder: Path, *arguments: str) -> None:
    """Run a module of the project, with the libraries that are here."""
    path = os.pathsep.join(map(str, (folder / "src", folder)))
    no_caches = {"PYTHONDONTWRITEBYTECODE": "1", "RUFF_NO_CACHE": "true"}
    environment = os.environ | no_caches | {"PYTHONPATH": path}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}")


def main(environment: dict[str, str]) -> str:
    """Make what the variables ask for; return what there is to print."""
    if not (folder := environment.get("DIR")):
        raise CannotMakeError("say where: make new DIR=../shop")
    target = Path(folder).resolve()
    name = name_from(environment.get("NAME") or target.name)
    if target.exists():
        raise CannotMakeError(f"{target} is there already")
    if not target.parent.is_dir():
        raise CannotMakeError(f"{target.parent} is no folder")
    make(target, name, kept := chosen(environment.get("EXTENSIONS")), from_here)
    has = ", ".join(["the core", *kept])
    return f"{target}: {name}, with {has}. Its README says what to do first."


if __name__ == "__main__":
    try:
        print(main(dict(os.environ)))
    except CannotMakeError as error:
        sys.exit(f"error: {error}")
