"""The rooms: what a copy of this program may do without. Nothing else in the core leads to them.

An entry names "module:attribute"s, imported when they are asked for; see docs/decisions/0011.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a room brings to the program."""

    needs: tuple[str, ...] = ()  # other rooms: only these it may import
    databases: Mapping[str, str] = field(default_factory=dict)  # `DatabaseKind`s, by URL scheme
    mail: Mapping[str, str] = field(default_factory=dict)  # ways to `Notifications`, by URL form
    log_formats: Mapping[str, str] = field(default_factory=dict)  # formatters, by name
    event_loops: tuple[str, ...] = ()  # of AnyIO, each the name of a package
    environment: str | None = None  # takes how variables are looked up, returns another way
    settings: str | None = None  # a dataclass: its own settings, read with the others
    publishers: str | None = None  # opens, with these settings, its `Publisher`s, by name
    observer: str | None = None  # begins, for as long as the program works, an `Observer`
    beside_worker: tuple[str, ...] = ()  # each makes a service of the settings
    beside_all: str | None = None  # is open for as long as any services of a process run
    commands: Mapping[str, str] = field(default_factory=dict)  # of the command line
    options: Mapping[str, str] = field(default_factory=dict)  # for all commands: help
    routes: str | None = None  # an `APIRouter`: what it answers over HTTP, to the operator
    open_routes: str | None = None  # another one, which looks itself who may see what
    story: str | None = None  # lines of its handlers, by name
    output: str | None = None  # the class of what prints
    hearing: str | None = None  # what listens for signals
    chatty_libraries: tuple[str, ...] = ()  # they log what they raise, or mend


CORE = Room(
    databases={"sqlite": "allocation.adapters.sqlite:SQLite"},
    mail={"maildir:FOLDER": "allocation.adapters.emails:MaildirNotifications.from_url"},
    log_formats={"text": "allocation.entrypoints.logs:TextFormatter"},
    event_loops=("asyncio",),
    output="allocation.entrypoints.output:Output",
    hearing="allocation.entrypoints.running:hearing",
)
ROOMS: dict[str, Room] = {
    "postgresql": Room(databases={"postgresql": "allocation.adapters.postgresql:PostgreSQL"}),
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
        settings="allocation.adapters.operations.settings:OperationsSettings",
        beside_worker=(
            "allocation.entrypoints.operations.strangers:watching",
            "allocation.entrypoints.operations.forgetting:forgetting",
        ),
        environment="allocation.entrypoints.operations.secret_files:in_file_too",
        routes="allocation.entrypoints.operations.http:router",  # room: web
        log_formats={"json": "allocation.entrypoints.operations.json_logs:JsonFormatter"},
        commands={
            "coupon-batches": "allocation.entrypoints.operations.coupon_batches:coupon_batches",
            "deliveries": "allocation.entrypoints.operations.deliveries:deliveries",
            "events": "allocation.entrypoints.operations.events:events",
            "history": "allocation.entrypoints.operations.history:history",
            "import-users": "allocation.entrypoints.operations.import_users:import_users",
            "rebuild-users": "allocation.entrypoints.operations.rebuild_users:rebuild_users",
            "trace": "allocation.entrypoints.operations.trace:trace",
        },
    ),
    "smtp": Room(
        mail=dict.fromkeys(
            ("smtp://user:password@host:port[?starttls=1]", "smtps://user:password@host:port"),
            "allocation.adapters.smtp:SmtpNotifications.from_url",
        ),
        # after that of operations: the old name may be that of a file, too
        environment="allocation.adapters.smtp.old_name:by_old_name_too",
    ),
    "metrics": Room(
        observer="allocation.entrypoints.metrics.observer:counting",
        settings="allocation.entrypoints.metrics.settings:MetricsSettings",
        beside_all="allocation.entrypoints.metrics.serving:answering",
        options={
            "--metrics-port": "Answer GET /metrics, /healthz and /readyz here, while working or"
            " consuming, on 127.0.0.1 (or ALLOCATION_METRICS_HOST). Default: none"
        },
    ),
    "otel": Room(observer="allocation.adapters.otel.tracing:tracing"),
    "trio": Room(event_loops=("trio",)),
    "web": Room(
        needs=("metrics",),
        settings="allocation.entrypoints.web.settings:WebSettings",
        commands={"serve": "allocation.entrypoints.web.commands:serve"},
    ),
    "page": Room(
        needs=("operations", "web"), open_routes="allocation.entrypoints.page.http:router"
    ),
    "playground": Room(
        needs=("operations", "page", "smtp", "web"),
        commands={"playground": "allocation.entrypoints.playground.commands:playground"},
    ),
    "console": Room(
        output="allocation.entrypoints.console.output:UnhurriedOutput",
        hearing="allocation.entrypoints.console.signals:hearing",
    ),
}

_ALL = (CORE, *ROOMS.values())
DATABASES = {name: kind for room in _ALL for name, kind in room.databases.items()}
MAIL = {form.partition(":")[0]: way for room in _ALL for form, way in room.mail.items()}
MAIL_FORMS = " or ".join(form for room in _ALL for form in room.mail)
LOG_FORMATS = {name: made for room in _ALL for name, made in room.log_formats.items()}
EVENT_LOOPS = [name for room in _ALL for name in room.event_loops]
OUTPUT = [room.output for room in _ALL if room.output][-1]  # that of a room, if one has it
HEARING = [room.hearing for room in _ALL if room.hearing][-1]  # in the same way
BESIDE_ALL = [room.beside_all for room in _ALL if room.beside_all]
