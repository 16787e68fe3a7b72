"""Makes a project on the engine: a copy of `template`, with another name and chosen options.

    aftercommit new ../shop --http --brokers

The template works as a service. An option adds whole files, lines to two lists (of extensions, and
of requirements), and parts of texts and configuration: such a part stands between `# if --http` and
`# end`, or the same in comments of Markdown. No line of the code depends on an option.
"""

import keyword
import re
import shutil
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

from aftercommit.errors import InvalidValue
from aftercommit.process.app import App
from aftercommit.project.settings_file import settings_lines
from aftercommit.settings import NAME, EngineSettings

TEMPLATE = Path(__file__).parent / "template"
CONSTRAINTS = TEMPLATE / "constraints.txt"
MADE_BY_RUNNING = shutil.ignore_patterns(".venv", "*_cache", "__pycache__", "vendor", "*.db*")
LISTS = ("app.py", "pyproject.toml")
PART = re.compile(
    r"^(?:#|<!--) if (?P<option>\S+)(?: -->)?\n(?P<text>.*?)^(?:#|<!--) end(?: -->)?\n", re.M | re.S
)
VENDOR = "vendor"
"""The option that is chosen automatically when there are wheels of the engine."""


@dataclass(frozen=True, slots=True)
class Option:
    """What an option of a new project adds."""

    question: str
    files: frozenset[str]
    lines: str = "(?!)"
    """The matching entries of the lists."""


OPTIONS = {
    "--http": Option(
        "Endpoints over HTTP, with a page for operators?",
        frozenset(
            {
                "src/shop/entrypoints/http.py",
                "tests/golden/public_routes.txt",
                "tests/integration/test_http.py",
            }
        ),
        r"WebExtension|PageExtension|MetricsExtension|\[page,web\]|fastapi|httpx|pydantic|web\.fixtures",
    ),
    "--brokers": Option(
        "Messages from and to RabbitMQ or Kafka?",
        frozenset(
            {
                "src/shop/entrypoints/broker_messages.py",
                "contracts/payments.json",
                "tests/unit/test_message_examples.py",
                "tests/unit/test_translations.py",
                "tests/integration/test_subscriptions.py",
            }
        ),
        r"BrokersExtension|\[brokers\]",
    ),
    "--license": Option("The MIT licence?", frozenset({"LICENSE"}), "^license"),
    "--changelog": Option("A changelog?", frozenset({"CHANGELOG.md"})),
}


def new_project(folder: Path, options: Collection[str], wheels: Iterable[Path] = ()) -> list[Path]:
    """Make a project in a folder, whose name it gets, and return its files.

    If the engine is not in a package index, its `wheels` are kept in `vendor`.

    :raises InvalidValue: if the folder is not empty, if its name cannot be a package's, or if an
        option is unknown; then nothing is written
    """
    name = folder.resolve().name.replace("-", "_")
    _ensure_possible(folder, name, options)
    shutil.copytree(TEMPLATE, folder, ignore=MADE_BY_RUNNING, dirs_exist_ok=True)
    wheels = [*wheels]
    chosen = {*options, *([VENDOR] if wheels else ())}
    for option in OPTIONS.keys() - chosen:
        _leave_out(folder, OPTIONS[option])
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        file.write_text(_renamed(_chosen(file.read_text(), chosen), name))
    if (license_file := folder / "LICENSE").exists():
        text = license_file.read_text().replace("YEAR", str(date.today().year))
        license_file.write_text(text.replace("HOLDER", f"the authors of {name}"))
    for path in sorted(folder.rglob("shop*"), reverse=True):  # a folder after its content
        path.rename(path.with_name(path.name.replace("shop", name)))
    with (folder / ".env.example").open("a") as settings:
        settings.writelines(f"{line}\n" for line in settings_lines(_app(folder, name)))
    for wheel in wheels:
        (folder / VENDOR).mkdir(exist_ok=True)
        shutil.copy(wheel, folder / VENDOR)
    return sorted(each for each in folder.rglob("*") if each.is_file())


def _ensure_possible(folder: Path, name: str, options: Collection[str]) -> None:
    if unknown := set(options) - OPTIONS.keys():
        raise InvalidValue(" ".join(unknown), f"is not an option; these are {', '.join(OPTIONS)}")
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in _taken():
        rule = f"letters, digits and _, as in {NAME.pattern}, and not the name of another package"
        raise InvalidValue(f"the name {name}", f"cannot be the name of a package: {rule}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidValue(str(folder), "already exists, and is not empty")


def _taken() -> Collection[str]:
    """Return the names of Python's modules, of installed packages, and of what we require."""
    ours = (re.split(r"[^\w-]", each)[0] for each in requires("aftercommit") or ())
    pinned = (line.partition("==")[0] for line in CONSTRAINTS.read_text().splitlines())
    required = {each.replace("-", "_").lower() for each in (*ours, *pinned)}
    return {*sys.stdlib_module_names, *packages_distributions(), *required, "aftercommit", "tests"}


def _app(folder: Path, name: str) -> App[Any]:
    """Return a project's application with settings of its extensions and of the engine."""
    of_project: dict[str, Any] = {"__name__": f"{name}.entrypoints.app"}
    exec((folder / f"src/{name}/entrypoints/app.py").read_text(), of_project)
    kind = type("Settings", (EngineSettings,), {"application": name, "__slots__": ()})
    app: App[Any] = of_project["APP"].with_parts(settings=kind)
    return app


def _chosen(text: str, options: Collection[str]) -> str:
    """Return a text with the parts of these options only, and without the marks."""
    return PART.sub(lambda part: part["text"] if part["option"] in options else "", text)


def _leave_out(folder: Path, option: Option) -> None:
    for name in option.files:
        (folder / name).unlink()
        with suppress(OSError):  # others are in it
            (folder / name).parent.rmdir()
    for path in (each for name in LISTS for each in folder.rglob(name)):
        kept = [
            line for line in path.read_text().splitlines(True) if not re.search(option.lines, line)
        ]
        path.write_text("".join(kept))


def _renamed(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("SHOP", name.upper()).replace("Shop", camel).replace("shop", name)
