"""Reads the settings from their classes, for the table in README: name, default, unit, and why."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pkgutil import resolve_name
from typing import Any, get_type_hints

from msgspec import Meta

from allocation.config import Settings, variable
from allocation.rooms import ROOMS


def settings() -> Iterator[str]:
    """Yield the table: the settings of the core, then those of each room."""
    yield "| variable | default | unit | why that default |"
    yield "|---|---|---|---|"
    yield from _rows(Settings)
    for room in ROOMS.values():
        if room.settings:
            yield from _rows(resolve_name(room.settings))


def _rows(kind: Any) -> Iterator[str]:
    annotations = get_type_hints(kind, include_extras=True)
    for setting in fields(kind):
        if setting.name != "of_rooms":
            said = annotations[setting.name].__metadata__
            units = [str(meta.description) for meta in said if isinstance(meta, Meta)]
            why = said[-1]
            yield f"| `{variable(setting.name)}` | {_default(setting)} | {''.join(units)} | {why} |"


def _default(setting: "Field[Any]") -> str:
    assert setting.default is not MISSING, f"{setting.name} has no default"
    default = setting.default
    return (
        "–"
        if default is None
        else f"`{default:g}`"
        if isinstance(default, float)
        else f"`{default}`"
    )
