"""The rooms: what a copy of this program may do without. Nothing else in the core names them.

To take a room out, delete its entry here, its folders and its tests. What an entry names is a
"module:attribute", imported when a setting asks for it and not before. See docs/decisions/0011.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a room brings to the program."""

    databases: Mapping[str, str] = field(default_factory=dict)  # `DatabaseKind`s, by URL scheme
    mail: Mapping[str, str] = field(default_factory=dict)  # ways to `Notifications`, by URL scheme
    log_formats: Mapping[str, str] = field(default_factory=dict)  # formatters, by name
    event_loops: tuple[str, ...] = ()  # of AnyIO, each the name of a package
    environment: str | None = None  # another way to look up variables, made of the one before
    settings: str | None = None  # the class of its own
    publishers: str | None = None  # opens, with them, a `Publisher` for each that they name
    observer: str | None = None  # begins, for as long as the program works, an `Observer`
    beside_worker: str | None = None  # makes a service of the settings
    commands: Mapping[str, str] = field(default_factory=dict)  # of the command line
    options: Mapping[str, str] = field(default_factory=dict)  # URLs for all commands: help
    story: str | None = None  # lines of its handlers, by name
    output: str | None = None  # the class of it
    hearing: str | None = None  # of signals
    chatty_libraries: tuple[str, ...] = ()  # they log what they raise, or mend


CORE = Room(
    databases={"sqlite": "allocation.adapters.sqlite:SQLite"},
    mail={"maildir": "allocation.adapters.emails:MaildirNotifications.from_url"},
    log_formats={"text": "allocation.entrypoints.logs:TextFormatter"},
    event_loops=("asyncio",),
    output="allocation.entrypoints.output:Output",
    hearing="allocation.entrypoints.running:hearing",
)
ROOMS: dict[str, Room] = {
    "postgresql": Room(
        databases={"postgresql": "allocation.adapters.postgresql:PostgreSQL"},
    ),
    "brokers": Room(
        settings="allocation.adapters.brokers:BrokerSettings",
        publishers="allocation.adapters.brokers:publishing",
        commands={
            name: f"allocation.entrypoints.brokers.commands:{name}"
            for name in ("asyncapi", "consume", "run")
        },
        options={
            "--broker-url": "amqp://user:password@host or kafka://host:port,host:port; several, "
            "separated by spaces, are allowed. Public events go to each of them."
        },
        story="allocation.entrypoints.brokers.story:LINES",
        chatty_libraries=("aio_pika", "aiokafka", "aiormq"),
    ),
    "operations": Room(
        observer="allocation.entrypoints.operations.watchdog:watching",
        beside_worker="allocation.entrypoints.operations.strangers:watching",
        environment="allocation.entrypoints.operations.secret_files:in_file_too",
        log_formats={"json": "allocation.entrypoints.operations.json_logs:JsonFormatter"},
        commands={
            "deliveries": "allocation.entrypoints.operations.deliveries:deliveries",
            "events": "allocation.entrypoints.operations.events:events",
            "import-users": "allocation.entrypoints.operations.import_users:import_users",
        },
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
    "console": Room(
        output="allocation.entrypoints.console.output:UnhurriedOutput",
        hearing="allocation.entrypoints.console.signals:hearing",
    ),
}

_ALL = (CORE, *ROOMS.values())
DATABASES = {name: kind for room in _ALL for name, kind in room.databases.items()}
MAIL = {name: way for room in _ALL for name, way in room.mail.items()}
LOG_FORMATS = {name: made for room in _ALL for name, made in room.log_formats.items()}
EVENT_LOOPS = [name for room in _ALL for name in room.event_loops]
*_, OUTPUT = (room.output for room in _ALL if room.output)
*_, HEARING = (room.hearing for room in _ALL if room.hearing)
