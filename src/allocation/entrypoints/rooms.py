"""What the rooms add to the command line; which ones there are is said in `allocation/rooms.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from allocation.entrypoints.lazy import LazyCommand
from allocation.rooms import ROOMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint:
    """What a room adds. It is made whenever the program starts, so it imports nothing heavy."""

    commands: Mapping[str, LazyCommand]
    options: tuple[Callable[[Any], Any], ...] = ()
    """Those that all commands have: `click.option`s."""
    beside_worker: tuple[str, ...] = ()
    """Where functions are, "module:attribute", that make services of the settings."""
    chatty_libraries: tuple[str, ...] = ()
    """They log what they raise, or mend."""


def entrypoints() -> list[Entrypoint]:
    """Return those of all rooms that are there."""
    return [resolve_name(room.entrypoint) for room in ROOMS.values() if room.entrypoint]
