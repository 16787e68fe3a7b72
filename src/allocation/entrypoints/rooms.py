"""The rooms of the entrypoints: what a copy of this application may not need, a line each.

A room is a package with commands of its own. The core names it here and nowhere else: to take it
out, delete its line and its folder. Its `__init__` says what it offers, and imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

from allocation.entrypoints.lazy import LazyCommand

ROOMS = (
    "allocation.entrypoints.brokers",
    "allocation.entrypoints.operations",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a room adds to the core, as its `ROOM`."""

    commands: Mapping[str, LazyCommand]
    log_formats: Mapping[str, str] = field(default_factory=dict)
    """Where a function is, "module:attribute", that makes the formatter for an encoding."""
    chatty_libraries: tuple[str, ...] = ()
    """They log what they raise, or mend."""


def rooms() -> list[Room]:
    """Return what the rooms offer that are there."""
    return [import_module(name).ROOM for name in ROOMS]
