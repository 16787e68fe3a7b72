"""The public names of the engine. What is not here, or in an extension, may change."""

from .bus import MessageBus as MessageBus
from .claims import (
    Failure as Failure,
)
from .claims import (
    IdempotencyKey as IdempotencyKey,
)
from .claims import (
    Report as Report,
)
from .codec import Codec as Codec
from .codec import Upcaster as Upcaster
from .envelope_factory import EnvelopeFactory as EnvelopeFactory
from .envelopes import (
    Envelope as Envelope,
)
from .envelopes import (
    MessageOrigin as MessageOrigin,
)
from .envelopes import (
    message_types as message_types,
)
from .errors import (
    Conflict as Conflict,
)
from .errors import (
    InvalidValue as InvalidValue,
)
from .errors import (
    Refused as Refused,
)
from .errors import (
    TransientError as TransientError,
)
from .errors import (
    Unavailable as Unavailable,
)
from .errors import WiringError as WiringError
from .handler_binding import Dependencies as Dependencies
from .handler_binding import bind as bind
from .handler_table import (
    PUBLISH as PUBLISH,
)
from .handler_table import (
    Handlers as Handlers,
)
from .handler_table import (
    Later as Later,
)
from .handler_table import (
    Unsubscribed as Unsubscribed,
)
from .handler_table import (
    on as on,
)
from .observers import (
    CompositeObserver as CompositeObserver,
)
from .observers import (
    ObservedPort as ObservedPort,
)
from .observers import (
    Observer as Observer,
)
from .observers import (
    Outcome as Outcome,
)
from .outbox import Outbox as Outbox
from .ports import Publisher as Publisher
from .process.app import App as App
from .process.app import CommandLine as CommandLine
from .process.application import Application as Application
from .process.assembly import open_application as open_application
from .process.cli.main import command_line as command_line
from .process.extension import Extension as Extension
from .process.extension import Extensions as Extensions
from .settings import EngineSettings as EngineSettings
from .settings import Seconds as Seconds
from .settings import load as load
from .sql.aggregates import ensure_versions as ensure_versions
from .sql.database import Database as Database
from .sql.database import open_database as open_database
from .sql.exceptions import (
    CommitOutcomeUnknown as CommitOutcomeUnknown,
)
from .sql.exceptions import (
    ConnectionLost as ConnectionLost,
)
from .sql.migrations.history import History as History
from .sql.outbox import new_outbox as new_outbox
from .sql.schema import ensure_schema as ensure_schema
from .sql.tables import NAMING_CONVENTION as NAMING_CONVENTION
from .sql.tables import UtcDateTime as UtcDateTime
from .sql.transaction import Refusals as Refusals
from .sql.transaction import Transaction as Transaction
from .sql.unit_of_work import open_unit_of_work as open_unit_of_work
from .unit_of_work import AggregateStore as AggregateStore
from .unit_of_work import Repository as Repository
