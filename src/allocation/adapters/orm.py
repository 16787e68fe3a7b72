"""The tables, and how the domain is mapped onto them. The domain knows nothing of this module.

Migrations are the only source of the schema; a test proves that they and these tables agree.
Times that are compared are seconds since 1970, by the database's clock.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import configure_mappers, registry

from allocation.domain.model import Coupon, CouponBatch, User
from allocation.domain.values import BatchReference, EmailAddress, PersonName

V = TypeVar("V", PersonName, EmailAddress, BatchReference)


class ValueObject(sa.TypeDecorator[V], Generic[V]):
    """A column that holds the `value` of a value object."""

    impl = sa.String
    cache_ok = True

    def __init__(self, type_: Callable[[str], V]) -> None:
        super().__init__()
        self.type_: Callable[[str], V] = type_

    def process_bind_param(self, value: V | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> V | None:
        # Checked anew: a stricter rule in the model needs a migration of the rows it refuses.
        return None if value is None else self.type_(value)


class Moment(sa.TypeDecorator[datetime]):
    """A time in UTC, whatever time zone the server has, and whether the database knows zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or value.tzinfo:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


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
    sa.Column("version", sa.Integer, nullable=False),
)

coupon_batches = sa.Table(
    "coupon_batches",
    metadata,
    sa.Column("reference", ValueObject(BatchReference), primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("remaining", sa.BigInteger, nullable=False),
    sa.Column("reported_on", sa.Date),
    sa.Column("version", sa.Integer, nullable=False),
    sa.CheckConstraint("remaining BETWEEN 0 AND quantity", name="remaining"),
)

_A_BATCH = sa.ForeignKey(coupon_batches.c.reference)
coupons = sa.Table(
    "coupons",
    metadata,
    sa.Column("code", sa.String, primary_key=True),
    sa.Column("batch_reference", ValueObject(BatchReference), _A_BATCH, nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey(users.c.id), nullable=False, unique=True),
)

registration_log = sa.Table(
    "registration_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("email", sa.String, nullable=False),
    sa.Column("logged_at", Moment, nullable=False, server_default=sa.func.now()),
)

user_view = sa.Table(
    "user_view",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("email", sa.String, nullable=False),
    sa.Column("coupon", sa.String),
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
    sa.Column("accepted_at", sa.Double, nullable=False, index=True),
)
_HAS_ID = commands.c.message_id.is_not(None)
sa.Index(
    "uq_commands_source",
    commands.c.source,
    commands.c.message_id,
    unique=True,
    sqlite_where=_HAS_ID,
    postgresql_where=_HAS_ID,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("subject", sa.String, nullable=False, index=True),
    sa.Column("time", Moment, nullable=False),
    sa.Column("correlation_id", sa.Uuid, nullable=False, index=True),
    sa.Column("causation_id", sa.Uuid, nullable=False),
    sa.Column("handler", sa.String),
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
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Double),  # when it is done, never
    sa.Column("replay", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("process", sa.String),  # which has it in hand, or has done it
    sa.Column("lost_by", sa.String),  # which had it in hand before, until its lease ended
    sa.Column("last_error", sa.Text),
    sa.Column("parked_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("seconds", sa.Double),
)
PARKED, FINISHED = deliveries.c.parked_at.is_not(None), deliveries.c.finished_at.is_not(None)
PENDING = sa.and_(~PARKED, ~FINISHED)
sa.Index(
    "ix_deliveries_due_at",
    deliveries.c.replay,
    deliveries.c.due_at,
    sqlite_where=PENDING,
    postgresql_where=PENDING,
)
sa.Index(None, deliveries.c.parked_at, sqlite_where=PARKED, postgresql_where=PARKED)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("token", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failed_at", sa.Double, nullable=False),
    sa.Column("process", sa.String),
    sa.Column("error", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["event_id", "handler"],
        [deliveries.c.event_id, deliveries.c.handler],
        ondelete="CASCADE",
    ),
)

replays = sa.Table(
    "replays",
    metadata,
    sa.Column("handler", sa.String, primary_key=True),
    sa.Column("scope", sa.String, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("after", sa.Double, nullable=False),
    sa.Column("after_id", sa.Uuid, nullable=False),
)

_mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the domain onto the tables; calling it again changes nothing."""
    if list(_mapping.mappers):
        return
    _mapping.map_imperatively(User, users, version_id_col=users.c.version)
    _mapping.map_imperatively(Coupon, coupons, primary_key=[coupons.c.user_id])
    _mapping.map_imperatively(CouponBatch, coupon_batches, version_id_col=coupon_batches.c.version)
    event.listen(User, "before_insert", _set_email_key)
    event.listen(User, "before_update", _set_email_key)
    configure_mappers()


def _set_email_key(mapper: Any, connection: Any, user: Any) -> None:
    """Store how an address compares beside how it is spelled: SQL's lower() knows only ASCII."""
    user.email_key = user.email.key
