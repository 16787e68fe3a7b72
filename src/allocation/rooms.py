"""The rooms: what a copy of this program may do without. Nothing else in the core names them.

To take a room out, delete its entry here, its folders and its tests. What an entry names is a
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
    log_formats: Mapping[str, str] = field(default_factory=dict)
    """What makes a formatter of the log, by name."""
    event_loops: tuple[str, ...] = ()
    """Those of AnyIO, each named as the package that it needs."""
    environment: str | None = None
    """What looks variables up in another way, made of the way before (`config.Find`)."""
    settings: str | None = None
    """The class of its own settings."""
    publishers: str | None = None
    """What opens, with these settings, a `Publisher` for each that is named there."""
    observer: str | None = None
    """What begins, for as long as the program works, an `Observer` (`service_layer/facts.py`)."""
    entrypoint: str | None = None
    """What it adds to the command line (`entrypoints/rooms.py`)."""


CORE = Room(
    databases={"sqlite": "allocation.adapters.sqlite:SQLite"},
    mail={"maildir": "allocation.adapters.emails:MaildirNotifications.from_url"},
    log_formats={"text": "allocation.entrypoints.logs:TextFormatter"},
    event_loops=("asyncio",),
)
ROOMS: dict[str, Room] = {
    "postgresql": Room(
        databases={"postgresql": "allocation.adapters.postgresql:PostgreSQL"},
    ),
    "brokers": Room(
        settings="allocation.adapters.brokers:BrokerSettings",
        publishers="allocation.adapters.brokers:publishing",
        entrypoint="allocation.entrypoints.brokers:ENTRYPOINT",
    ),
    "operations": Room(
        observer="allocation.entrypoints.operations.watchdog:watching",
        environment="allocation.entrypoints.operations.secret_files:in_file_too",
        log_formats={"json": "allocation.entrypoints.operations.json_logs:JsonFormatter"},
        entrypoint="allocation.entrypoints.operations:ENTRYPOINT",
    ),
    "smtp": Room(
        mail=dict.fromkeys(
            ("smtp", "smtps"), "allocation.adapters.smtp:SmtpNotifications.from_url"
        ),
        # after that of operations: the old name may be that of a file, too
        environment="allocation.adapters.smtp.old_name:by_old_name_too",
    ),
    "trio": Room(
        event_loops=("trio",),
    ),
}

_ALL = (CORE, *ROOMS.values())
DATABASES = {name: kind for room in _ALL for name, kind in room.databases.items()}
MAIL = {name: way for room in _ALL for name, way in room.mail.items()}
LOG_FORMATS = {name: made for room in _ALL for name, made in room.log_formats.items()}
EVENT_LOOPS = [name for room in _ALL for name in room.event_loops]
