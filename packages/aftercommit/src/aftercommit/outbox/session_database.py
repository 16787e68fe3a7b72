"""The database of an application's sessions: what is found out once for each engine's URL."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Executable
from sqlalchemy.sql.dml import ReturningInsert

from aftercommit.database.database import find_backend
from aftercommit.database.database_url import parse_url, shown
from aftercommit.database.exceptions import DatabaseUnavailable
from aftercommit.database.schema import owner_of
from aftercommit.deliveries.new_events import NewEvents
from aftercommit.deliveries.tables import commands, events
from aftercommit.errors import WiringError
from aftercommit.outbox.engine_of_application import place_of
from aftercommit.outbox.outbox_app import OutboxApp

logger = logging.getLogger(__name__)

NO_TABLES = (
    "the tables of the outbox are missing: create them with running(), or with "
    '"aftercommit db upgrade MODULE:NAME", where MODULE:NAME names the outbox'
)
INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True, slots=True)
class CallerDatabase:
    """How events are stored and messages noted in this kind of database, and its clock."""

    clock: sa.ColumnElement[float]
    lock_lanes: Executable | None
    new_events: NewEvents
    note: ReturningInsert[Any]  # returns nothing if the message is already there


def known_database(connection: sa.Connection, app: OutboxApp) -> CallerDatabase:
    """Return what is known about this kind of database.

    :raises WiringError: if it is not supported
    """
    scheme, backends = connection.dialect.name, app.parts.database_backends()
    if scheme != "sqlite" and scheme not in backends:
        raise WiringError("a session has a database that is not supported", scheme)
    backend = find_backend(scheme, backends)
    clock: sa.ColumnElement[float] = sa.literal_column(backend.clock, sa.Double())
    # not every driver has a row count after an INSERT
    note = INSERT[scheme](commands).values(accepted_at=clock)
    note = note.on_conflict_do_nothing().returning(commands.c.id)
    new_events = NewEvents(backend, clock, in_sessions=True)
    return CallerDatabase(clock, backend.lock_lanes, new_events, note)


def check_engine(connection: sa.Connection, app: OutboxApp) -> None:
    """Compare a session's engine with the worker's, and look for our tables.

    :raises WiringError: if it has another database, which no worker reads
    :raises DatabaseUnavailable: if the tables do not exist
    :raises SchemaOfAnother: if they belong to another application, whose worker would not know the
        handlers
    """
    ours, theirs = parse_url(app.load({}).database_url), connection.engine.url
    if place_of(ours) != place_of(theirs) and not _is_same(connection, ours):
        both = shown(theirs.set(drivername=theirs.get_backend_name())), shown(ours)
        raise WiringError("the sessions and the outbox have different databases", *both)
    if not sa.inspect(connection).has_table(events.name):
        raise DatabaseUnavailable(NO_TABLES)
    owner_of(app.name, connection)
    driver = connection.connection.driver_connection
    if getattr(driver, "isolation_level", None) is not None and place_of(ours)[0] == "sqlite":
        logger.warning(
            "requests can overwrite changes that others made after they had read; "
            "call aftercommit.sqlite.prepare, once for the engine"
        )


def _is_same(connection: sa.Connection, ours: sa.URL) -> bool:
    """Ask the server: a pooler may have another name for the database than the server."""
    if connection.dialect.name != "postgresql" or ours.get_backend_name() != "postgresql":
        return False
    return connection.scalar(sa.select(sa.func.current_database())) == ours.database
