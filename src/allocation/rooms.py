"""The rooms: what a copy of this program may do without. Nothing else in the core names them.

To take a room out, delete its line here, its folders and its tests. What a line names is a
"module:attribute", imported when a setting asks for it and not before. See docs/decisions/0011.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a room brings to the program."""

    databases: Mapping[str, str] = field(default_factory=dict)
    """Kinds of databases (`adapters/kinds.py`), by the scheme of their URLs."""


CORE = Room(databases={"sqlite": "allocation.adapters.sqlite:SQLite"})
ROOMS = {
    "postgresql": Room(databases={"postgresql": "allocation.adapters.postgresql:PostgreSQL"}),
}

DATABASES = {k: v for room in (CORE, *ROOMS.values()) for k, v in room.databases.items()}
