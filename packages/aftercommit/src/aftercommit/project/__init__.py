"""Makes a project on the engine: a copy of `template`, with another name, and what was asked for.

    aftercommit new ../shop --http --brokers

The template is a service as it stands. An option adds whole files, and lines of two lists: that of
extensions, and that of what is installed. There is nothing else in it that could be chosen.
"""

import keyword
import re
import shutil
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from aftercommit.errors import InvalidValue
from aftercommit.settings import NAME

TEMPLATE = Path(__file__).parent / "template"
MADE_BY_RUNNING = shutil.ignore_patterns(".venv", "*_cache", "__pycache__", "vendor", "*.db*")
LISTS = ("extension_list.py", "pyproject.toml")
OPTIONS: dict[str, tuple[set[str], str]] = {
    "--http": (
        {
            "src/shop/entrypoints/http.py",
            "tests/golden/public_routes.txt",
            "tests/integration/test_http.py",
        },
        r"WebExtension|PageExtension|MetricsExtension|\[page,web\]|httpx|web\.fixtures",
    ),
    "--brokers": (
        {
            "src/shop/entrypoints/broker_messages.py",
            "contracts/payments.json",
            "tests/unit/test_message_examples.py",
            "tests/unit/test_translations.py",
            "tests/integration/test_subscriptions.py",
        },
        r"BrokersExtension|\[brokers\]",
    ),
}
"""What an option adds: files, and the lines of the lists that match."""


def new_project(folder: Path, options: Collection[str], wheels: Iterable[Path] = ()) -> list[Path]:
    """Make a project in a folder, whose name it gets, and return its files.

    Without a release of the engine in an index, its `wheels` are kept in `vendor`.

    :raises InvalidValue: if the folder is not empty, its name cannot be that of a package, or an
        option is not known; then nothing is written
    """
    name = folder.resolve().name.replace("-", "_")
    if unknown := set(options) - OPTIONS.keys():
        raise InvalidValue(" ".join(unknown), f"is no option; there are {', '.join(OPTIONS)}")
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in _taken():
        rule = f"letters, digits and _, as in {NAME.pattern}, and no name of another package"
        raise InvalidValue(f"the name {name}", f"cannot be that of a package: {rule}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidValue(str(folder), "is there already, and not empty")
    shutil.copytree(TEMPLATE, folder, ignore=MADE_BY_RUNNING, dirs_exist_ok=True)
    for option in OPTIONS.keys() - set(options):
        _leave_out(folder, *OPTIONS[option])
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        file.write_text(_renamed(file.read_text(), name))
    for path in sorted(folder.rglob("shop*"), reverse=True):  # a folder after what is in it
        path.rename(path.with_name(path.name.replace("shop", name)))
    for wheel in wheels:
        (folder / "vendor").mkdir(exist_ok=True)
        shutil.copy(wheel, folder / "vendor")
    return sorted(each for each in folder.rglob("*") if each.is_file())


def _taken() -> Collection[str]:
    """Return the names of Python's own modules, of what is installed, and of what we require."""
    ours = (re.split(r"[^\w-]", each)[0] for each in requires("aftercommit") or ())
    required = {each.replace("-", "_").lower() for each in ours}
    return {*sys.stdlib_module_names, *packages_distributions(), *required, "aftercommit", "tests"}


def _leave_out(folder: Path, files: Collection[str], lines: str) -> None:
    for name in files:
        (folder / name).unlink()
        with suppress(OSError):  # others are in it
            (folder / name).parent.rmdir()
    for path in (each for name in LISTS for each in folder.rglob(name)):
        kept = [line for line in path.read_text().splitlines(True) if not re.search(lines, line)]
        path.write_text("".join(kept))


def _renamed(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("SHOP", name.upper()).replace("Shop", camel).replace("shop", name)
