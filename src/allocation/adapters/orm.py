"""The tables, and how the domain is mapped onto them. The domain knows nothing of this module.

Migrations are the only source of the schema; a test proves that they and these tables agree.
Times that are compared are seconds since 1970, by the database's clock.
"""

from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import configure_mappers, registry

from allocation.adapters.aggregates import ensure_versions
from allocation.adapters.column_types import UtcDateTime, ValueObject
from allocation.domain.coupons import BatchReference, Coupon, CouponBatch, CouponCode
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName
from allocation.service_layer.read_model_types import UserRow

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", ValueObject(PersonName), nullable=False),
    sa.Column("email", ValueObject(EmailAddress), nullable=False),
    sa.Column("email_key", sa.String, nullable=False, unique=True),
    sa.Column("email_undeliverable", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("version", sa.Integer, nullable=False),
)

coupon_batches = sa.Table(
    "coupon_batches",
    metadata,
    sa.Column("reference", ValueObject(BatchReference), primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("remaining", sa.BigInteger, nullable=False),
    sa.Column("exhaustion_notified_on", sa.Date),
    sa.Column("version", sa.Integer, nullable=False),
    sa.CheckConstraint("remaining BETWEEN 0 AND quantity", name="remaining"),
)

_A_BATCH = sa.ForeignKey(coupon_batches.c.reference)
coupons = sa.Table(
    "coupons",
    metadata,
    sa.Column("code", ValueObject(CouponCode), primary_key=True),
    sa.Column("batch_reference", ValueObject(BatchReference), _A_BATCH, nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey(users.c.id), nullable=False, unique=True),
    sa.Column("state", sa.String, nullable=False, server_default="allocated"),
    sa.Column("redemption_id", sa.Uuid),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
)

registration_log = sa.Table(
    "registration_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("email", sa.String, nullable=False),
    sa.Column("logged_at", UtcDateTime, nullable=False, server_default=sa.func.now()),
)


_JOINED_TO_USERS: dict[str, sa.Table] = {"coupon": coupons}
"""What a user may have, by what the names of its fields begin with."""


def _source_of_user_row(name: str) -> sa.Column[Any]:
    prefix, _, rest = name.partition("_")
    if prefix in _JOINED_TO_USERS:
        return _JOINED_TO_USERS[prefix].c[rest]
    return users.c["id" if name == "user_id" else name]


def _plain_in_user_row(source: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return sa.type_coerce(source, sa.String()) if isinstance(source.type, ValueObject) else source


def _column_of_user_view(name: str, source: sa.Column[Any]) -> sa.Column[Any]:
    """Return the column of a copy: it has the default, too, for rows that are there already."""
    if source.table is not users:  # not every user has one, so there is no default
        return sa.Column(name, _plain_in_user_row(source).type)
    default = getattr(source.server_default, "arg", None)
    return sa.Column(name, _plain_in_user_row(source).type, nullable=False, server_default=default)


_SHOWN = {field.name: _source_of_user_row(field.name) for field in fields(UserRow)}
_LABELLED = [_plain_in_user_row(source).label(name) for name, source in _SHOWN.items()]
user_rows = sa.select(*_LABELLED).select_from(users)
for _table in _JOINED_TO_USERS.values():
    user_rows = user_rows.outerjoin(_table)
"""The rows of the list of users, made from the aggregates."""

user_view = sa.Table(
    "user_view",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    *(_column_of_user_view(name, source) for name, source in _SHOWN.items() if name != "user_id"),
    sa.Index(None, "email", "user_id"),
)

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("message_id", sa.String),
    sa.Column("fingerprint", sa.String),
    sa.Column("correlation_id", sa.Uuid, nullable=False, index=True),
    sa.Column("causation_id", sa.Uuid),  # the event, whose handler is the source, if one is
    sa.Column("accepted_at", sa.Double, nullable=False, index=True),
)
_HAS_ID = commands.c.message_id.is_not(None)
sa.Index(
    "uq_commands_source",
    commands.c.source,
    commands.c.message_id,
    unique=True,
    sqlite_where=_HAS_ID,
    info={"postgresql_where": _HAS_ID},
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("subject", sa.String, nullable=False, index=True),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("correlation_id", sa.Uuid, nullable=False, index=True),
    sa.Column("causation_id", sa.Uuid, nullable=False),
    sa.Column("handler", sa.String),
    sa.Column("depth", sa.Integer, nullable=False, server_default="1"),
    sa.Column("traceparent", sa.String),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Double, nullable=False, index=True),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("event_id", sa.Uuid, sa.ForeignKey(events.c.id), primary_key=True),
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("unavailable_attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("available_at", sa.Double),  # when it is done, never
    sa.Column("replay", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("owner", sa.String),  # the process that runs it, or has done it
    sa.Column("previous_owner", sa.String),  # the process that lost it: its lease ended
    sa.Column("last_error", sa.Text),
    sa.Column("parked_at", sa.Double),
    sa.Column("completed_at", sa.Double),
    sa.Column("discarded_at", sa.Double),  # completed by a person, not by its handler
    sa.Column("duration_seconds", sa.Double),
)
PARKED, FINISHED = deliveries.c.parked_at.is_not(None), deliveries.c.completed_at.is_not(None)
PENDING = sa.and_(~PARKED, ~FINISHED)
sa.Index(
    "ix_deliveries_available_at",
    deliveries.c.replay,
    deliveries.c.available_at,
    sqlite_where=PENDING,
    info={"postgresql_where": PENDING},
)
sa.Index(None, deliveries.c.parked_at, sqlite_where=PARKED, info={"postgresql_where": PARKED})

handler_pauses = sa.Table(
    "handler_pauses",
    metadata,
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("paused_at", sa.Double, nullable=False),
    sa.Column("paused_by", sa.String, nullable=False),
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("token", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failed_at", sa.Double, nullable=False),
    sa.Column("owner", sa.String),
    sa.Column("error", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["event_id", "handler"], [deliveries.c.event_id, deliveries.c.handler], ondelete="CASCADE"
    ),
)

_mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the domain onto the tables; calling it again changes nothing.

    Each aggregate has a version. If it has parts, give it `properties`, so that they are loaded,
    stored and removed with it:
    `{"lines": relationship(OrderLine, cascade="all, delete-orphan", lazy="selectin")}`.

    :raises WiringError: if an aggregate has no version
    """
    if not list(_mapping.mappers):
        _start_mappers()
    ensure_versions(_mapping)


def _start_mappers() -> None:
    _mapping.map_imperatively(User, users, version_id_col=users.c.version)
    _mapping.map_imperatively(Coupon, coupons, version_id_col=coupons.c.version)
    _mapping.map_imperatively(CouponBatch, coupon_batches, version_id_col=coupon_batches.c.version)
    event.listen(User, "before_insert", _set_email_key)
    event.listen(User, "before_update", _set_email_key)
    configure_mappers()


def _set_email_key(mapper: Any, connection: Any, user: Any) -> None:
    """Store how an address compares beside how it is spelled: SQL's lower() knows only ASCII."""
    user.email_key = user.email.key
