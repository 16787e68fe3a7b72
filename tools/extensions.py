"""Lists the extensions, and takes some out: `make without EXTENSION="brokers smtp"`.

There is no list of what belongs to an extension, there are rules:

- its entry and its import in `src/allocation/extensions/__init__.py`, and every folder that has
  its name;
- in pyproject.toml, a line with the name of one of its modules;
- in any file, a line that ends with the comment `extension: NAME`; if the line has nothing else,
  all up to the comment `end`; if it is the first, the file. What needs several has
  `extension: NAME, NAME`.

With an extension go those that need it. After that, documents lose the rows and links that lead to
what has gone.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import rmtree

from allocation.extensions import EXTENSIONS
from tools.files import ROOT

TABLE = ROOT / "src" / "allocation" / "extensions/__init__.py"

BESIDE = {"playground": ("operations", "page", "smtp", "web")}  # no extensions, but with needs
PICTURES = (".gif", ".png")
ENTRY = r'^    "({0})": \w+\(\),\n|^from allocation\.extensions\.(?:{0}) import .*\n'
MARK = re.compile(r"^(.*?)(?:#|<!--) (?:extension|example): ([\w, ]+?)(?: -->)?$")
PROOF = re.compile(r"^- `([\w/]+\.py)(?:`\n  `)?::(\w+)`\n", re.M)
ROW = re.compile(r"^\|.*\n", re.M)
LINK = re.compile(r"\[([^]]+)\]\(([^)]+)\)")
END = re.compile(r" *(?:#|<!--) end(?: -->)?$")


def extensions() -> list[str]:
    """Return the names of the extensions that are there."""
    return [*EXTENSIONS]


def folders(extension: str) -> list[Path]:
    """Return the folders of an extension, those of the program first."""
    parents = {parent for file in tracked() for parent in file.parents if parent.name == extension}
    return sorted(parents, key=lambda folder: (folder.parts[0] != "src", folder))


def describe(extension: str) -> str:
    """Return the first sentence of what the extension says of itself."""
    package = sys.modules[type(EXTENSIONS[extension]).__module__]
    return str(package.__doc__).replace("\n", " ").partition(". ")[0]


def with_those_that_need(names: Iterable[str]) -> list[str]:
    """Return the extensions, and all others that would not work without them."""
    found = list(names)
    for extension in found:  # which grows meanwhile
        found += [each for each in known() if extension in needs(each) and each not in found]
    return found


def known() -> list[str]:
    """Return what can be taken out: the extensions, and what stands beside the program."""
    return [*extensions(), *(name for name in BESIDE if (ROOT / name).is_dir())]


def needs(name: str) -> tuple[str, ...]:
    """Return the extensions without which this would not work."""
    return BESIDE.get(name) or EXTENSIONS[name].needs


def take_out(names: list[str]) -> None:
    """Take extensions out of the working tree, as the rules say."""
    entries = re.compile(ENTRY.format("|".join(names)), re.M)
    TABLE.write_text(entries.sub("", TABLE.read_text()))
    for folder in (folder for extension in names for folder in folders(extension)):
        rmtree(ROOT / folder)
    for file in filter(Path.exists, (ROOT / name for name in tracked())):
        take_out_of(file, set(names))
    for page in ROOT.glob("**/*.md"):
        page.write_text(without_dead_ends(page, page.read_text()))
    for command in ("ruff check --fix-only --quiet .", "ruff format --quiet .", "tests.generated"):
        subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, check=True)


def take_out_of(file: Path, names: set[str]) -> None:
    """Take the marked lines and parts out of a file; delete it if its first line is one."""
    if file.suffix in PICTURES:
        return
    try:
        old = file.read_text()
    except UnicodeDecodeError:  # no text
        return
    new = "".join(unmarked(old.splitlines(keepends=True), names))
    if file.name == "pyproject.toml":
        new = without_modules(new, "|".join(names))
    if old and not new:
        file.unlink()
    elif new != old:
        file.write_text(new)


def unmarked(lines: list[str], names: set[str]) -> Iterator[str]:
    """Yield the lines that need none of these extensions."""
    inside = False
    for number, line in enumerate(lines):
        mark = MARK.match(line)
        goes = bool(mark and names & set(mark[2].split(", ")))
        if goes and number == 0:
            return
        if not goes and not inside:
            yield line
        inside = (inside and not END.match(line)) or bool(goes and mark and not mark[1].strip())


def without_modules(configuration: str, names: str) -> str:
    """Return pyproject.toml without the modules of these extensions, also in its contracts."""
    lines = re.sub(rf"^.*\ballocation[./]\w+[./](?:{names})\b.*\n", "", configuration, flags=re.M)
    lines = re.sub(rf"\((?:{names})\)(?: \| )?", "", lines)
    return re.sub(r'^ *"",\n', "", lines.replace(') | "', ')"'), flags=re.M)


def without_dead_ends(page: Path, text: str) -> str:
    """Return a document without proofs, rows and links that lead to what is not there."""

    def dead(link: str) -> bool:
        return "://" not in link and not (page.parent / link.partition("#")[0]).exists()

    def leads_on(row: re.Match[str]) -> bool:
        return not any(dead(link[2]) for link in LINK.finditer(row[0]))

    def proves(proof: re.Match[str]) -> bool:
        return (ROOT / proof[1]).exists() and proof[2] in (ROOT / proof[1]).read_text()

    text = PROOF.sub(lambda proof: proof[0] if proves(proof) else "", text)
    text = ROW.sub(lambda row: row[0] if leads_on(row) else "", text)
    return LINK.sub(lambda link: link[1] if dead(link[2]) else link[0], text)


def tracked() -> list[Path]:
    return list(map(Path, git("ls-files").splitlines()))


def git(*arguments: str) -> str:
    command = ["git", "-c", "core.quotePath=off", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def refuse_changes() -> None:
    """End, if there are changes that are not committed: they could not be told from what goes."""
    if git("status", "--porcelain"):
        raise SystemExit("there are changes that are not committed; commit them first")


def lines(paths: Iterable[Path]) -> int:
    return sum(len(file.read_text().splitlines()) for path in paths for file in path.rglob("*.py"))


def main(command: str = "list", *names: str) -> str:
    """Do what is asked, and return what there is to say; a `SystemExit` is a refusal."""
    if command == "list":
        rows = ((extension, folders(extension)) for extension in extensions())
        return "\n".join(
            f"{extension:12} {describe(extension)}\n{'':12} {lines(ROOT / f for f in of)} lines: "
            + ", ".join(map(str, of))
            for extension, of in rows
        )
    if unknown := [name for name in names or ("",) if name not in known()]:
        raise SystemExit(f"there is no extension {unknown[0]!r}; there are: {', '.join(known())}")
    refuse_changes()
    take_out(gone := with_those_that_need(dict.fromkeys(names)))
    why = {each: f"{each}, which needs {' and '.join(needs(each))}" for each in gone}
    told = ", ".join(each if each in names else why[each] for each in gone)
    return f"taken out: {told}. See `git diff --stat`, run `make test`, and commit."


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
