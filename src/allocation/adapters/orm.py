"""The tables, and how the domain is mapped onto them. The domain knows nothing of this module.

Migrations are the only source of the schema; a test proves that they and these tables agree.
Times that are compared are seconds since 1970, by the database's clock.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    event,
    func,
)
from sqlalchemy.orm import configure_mappers, registry

from allocation.domain.model import Coupon, CouponBatch, User
from allocation.domain.values import BatchReference, EmailAddress, PersonName

V = TypeVar("V", PersonName, EmailAddress, BatchReference)


class ValueObject(TypeDecorator[V], Generic[V]):
    """A column that holds the `value` of a value object."""

    impl = String
    cache_ok = True

    def __init__(self, type_: Callable[[str], V]) -> None:
        super().__init__()
        self.type_: Callable[[str], V] = type_

    def process_bind_param(self, value: V | None, dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> V | None:
        # Checked anew: a stricter rule in the model needs a migration of the rows it refuses.
        return None if value is None else self.type_(value)


class Moment(TypeDecorator[datetime]):
    """A time in UTC, whatever time zone the server has, and whether the database knows zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", ValueObject(PersonName), nullable=False),
    Column("email", ValueObject(EmailAddress), nullable=False),
    Column("email_key", String, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
)

coupon_batches = Table(
    "coupon_batches",
    metadata,
    Column("reference", ValueObject(BatchReference), primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("reported_on", Date),
    Column("version", Integer, nullable=False),
    CheckConstraint("remaining BETWEEN 0 AND quantity", name="remaining"),
)

coupons = Table(
    "coupons",
    metadata,
    Column("code", String, primary_key=True),
    Column(
        "batch_reference",
        ValueObject(BatchReference),
        ForeignKey(coupon_batches.c.reference),
        nullable=False,
    ),
    Column("user_id", Uuid, ForeignKey(users.c.id), nullable=False, unique=True),
)

registration_log = Table(
    "registration_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("email", String, nullable=False),
    Column("logged_at", Moment, nullable=False, server_default=func.now()),
)

user_view = Table(
    "user_view",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("name", String, nullable=False),
    Column("email", String, nullable=False),
    Column("coupon", String),
)

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source", String, nullable=False),
    Column("type", String, nullable=False),
    Column("schema_version", Integer, nullable=False, server_default="1"),
    Column("subject", String, nullable=False),
    Column("time", Moment, nullable=False),
    Column("correlation_id", Uuid, nullable=False),
    Column("causation_id", Uuid, nullable=False),
    Column("data", Text, nullable=False),
    Column("recorded_at", Double, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("event_id", Uuid, ForeignKey(events.c.id), primary_key=True),
    Column("handler", String, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("last_error", Text),
    Column("parked_at", Double),
)
Index(
    "ix_deliveries_due_at",
    deliveries.c.due_at,
    sqlite_where=deliveries.c.parked_at.is_(None),
    postgresql_where=deliveries.c.parked_at.is_(None),
)

inbox = Table(
    "inbox",
    metadata,
    Column("source", String, primary_key=True),
    Column("message_id", String, primary_key=True),
    Column("received_at", Double, nullable=False, index=True),
)

_mapper_registry = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the domain onto the tables; calling it again changes nothing."""
    if list(_mapper_registry.mappers):
        return
    _mapper_registry.map_imperatively(User, users, version_id_col=users.c.version)
    _mapper_registry.map_imperatively(Coupon, coupons, primary_key=[coupons.c.user_id])
    _mapper_registry.map_imperatively(
        CouponBatch, coupon_batches, version_id_col=coupon_batches.c.version
    )
    event.listen(User, "before_insert", _set_email_key)
    event.listen(User, "before_update", _set_email_key)
    configure_mappers()


def _set_email_key(mapper: Any, connection: Any, user: Any) -> None:
    """Store how an address compares beside how it is spelled: SQL's lower() knows only ASCII."""
    user.email_key = user.email.key
