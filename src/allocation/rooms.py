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
    mail: Mapping[str, str] = field(default_factory=dict)
    """What makes a `Notifications` of a URL and a sender, by the scheme of the URL."""
    settings: str | None = None
    """The class of its own settings."""
    publishers: str | None = None
    """What opens, with these settings, a `Publisher` for each that is named there."""
    entrypoint: str | None = None
    """What it adds to the command line (`entrypoints/rooms.py`)."""


CORE = Room(
    databases={"sqlite": "allocation.adapters.sqlite:SQLite"},
    mail={"maildir": "allocation.adapters.emails:MaildirNotifications.from_url"},
)
ROOMS: dict[str, Room] = {
    "postgresql": Room(
        databases={"postgresql": "allocation.adapters.postgresql:PostgreSQL"},
    ),
    "smtp": Room(
        mail=dict.fromkeys(
            ("smtp", "smtps"), "allocation.adapters.smtp:SmtpNotifications.from_url"
        ),
    ),
    "brokers": Room(
        settings="allocation.adapters.brokers:BrokerSettings",
        publishers="allocation.adapters.brokers:publishing",
        entrypoint="allocation.entrypoints.brokers:ENTRYPOINT",
    ),
    "operations": Room(
        entrypoint="allocation.entrypoints.operations:ENTRYPOINT",
    ),
}

_ALL = (CORE, *ROOMS.values())
DATABASES = {name: kind for room in _ALL for name, kind in room.databases.items()}
MAIL = {name: way for room in _ALL for name, way in room.mail.items()}
