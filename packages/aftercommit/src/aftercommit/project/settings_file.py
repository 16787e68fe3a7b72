"""The list of all settings of an application, as a file of variables, `.env.example`."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args

from aftercommit.process.app import App


def settings_lines(app: App[Any]) -> Iterator[str]:
    """Yield a line for each setting: its variable with its default, and why this is the default."""
    kind = app.settings()
    for each in (kind, *app.parts.settings()):
        for setting in (it for it in fields(each) if it.name != "of_extensions"):
            default = setting.default
            if setting.name == "database_url" and default is MISSING:
                default = app.default_database_url
            shown = "" if default in (None, MISSING) else default
            shown = str(shown).lower() if isinstance(shown, bool) else shown
            yield f"#{kind.variable(setting.name)}={shown}".ljust(50) + f"  # {_why(setting)}"


def _why(setting: "Field[Any]") -> str:
    texts = [each for each in get_args(setting.type) if isinstance(each, str)]
    return texts[0] if texts else "see config.py"


def differences(app: App[Any], file: Path) -> list[str]:
    """Return in sentences which settings a file lacks, and which of its names are no settings."""
    prefix = app.settings().variable("")
    wanted = {each.partition("=")[0].strip("# "): each for each in settings_lines(app)}
    lines = [each.lstrip("# ") for each in file.read_text(encoding="utf-8").splitlines()]
    named = {each.partition("=")[0] for each in lines if each.startswith(prefix) and "=" in each}
    missing = [f"{file.name} lacks the line {each}" for n, each in wanted.items() if n not in named]
    return missing + [
        f"{file.name} names {each}, which is not a setting" for each in sorted(named - {*wanted})
    ]
