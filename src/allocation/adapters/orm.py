"""The tables, and how the domain is mapped onto them. The domain does not know this module.

Migrations are the only source of the schema; a test checks that they and these tables agree. The
tables of the engine are in `aftercommit/deliveries/tables.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from aftercommit import NAMING_CONVENTION, UtcDateTime, ensure_versions
from sqlalchemy import event
from sqlalchemy.orm import configure_mappers, registry

from allocation.domain.coupons import BatchReference, Coupon, CouponBatch, CouponCode, CouponState
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)


class ValueObjectType(sa.TypeDecorator[Any]):
    """A text column that holds the `value` of a value object of the given type."""

    impl = sa.String
    cache_ok = True
    sort_key_function = attrgetter("value")  # rows of one table are written in the order of keys

    def __init__(self, type_: Callable[[str], Any]) -> None:
        super().__init__()
        self.type_ = type_

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        # Checked again: a stricter rule in the model needs a migration of the rows it refuses.
        return None if value is None else self.type_(value)

    def compare_values(self, x: Any, y: Any) -> bool:
        # the mapper stores a new spelling, although the addresses are equal
        return bool((x and x.value) == (y and y.value))


users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", ValueObjectType(PersonName), nullable=False),
    sa.Column("email", ValueObjectType(EmailAddress), nullable=False),
    sa.Column("email_key", sa.String, nullable=False, unique=True),
    sa.Column("email_undeliverable", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("version", sa.Integer, nullable=False),
)

coupon_batches = sa.Table(
    "coupon_batches",
    metadata,
    sa.Column("reference", ValueObjectType(BatchReference), primary_key=True),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("remaining", sa.BigInteger, nullable=False),
    sa.Column("was_exhausted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("version", sa.Integer, nullable=False),
    sa.CheckConstraint("remaining BETWEEN 0 AND quantity", name="remaining"),
)

_A_BATCH = sa.ForeignKey(coupon_batches.c.reference)
coupons = sa.Table(
    "coupons",
    metadata,
    sa.Column("code", ValueObjectType(CouponCode), primary_key=True),
    sa.Column("batch_reference", ValueObjectType(BatchReference), _A_BATCH, nullable=False),
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

user_view = sa.Table(
    "user_view",
    metadata,
    sa.Column("user_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("email", sa.String, nullable=False),
    sa.Column("email_undeliverable", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("coupon_code", sa.String),
    sa.Column("coupon_state", sa.String),
    sa.Index(None, "email", "user_id"),
)

user_rows = sa.select(
    users.c.id.label("user_id"),
    sa.type_coerce(users.c.name, sa.String).label("name"),
    sa.type_coerce(users.c.email, sa.String).label("email"),
    users.c.email_undeliverable,
    sa.type_coerce(coupons.c.code, sa.String).label("coupon_code"),
    coupons.c.state.label("coupon_state"),
).select_from(users.outerjoin(coupons))
"""The rows of the list of users, made from the aggregates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A user in lists and responses, with the coupon, if there is one."""

    user_id: UUID
    name: str
    email: str
    email_undeliverable: bool
    coupon_code: str | None
    coupon_state: CouponState | None


mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the domain onto the tables; calling it again changes nothing.

    Each aggregate has a version. If it has parts, give it `properties`, so that they are loaded,
    stored and removed with it:
    `{"lines": relationship(OrderLine, cascade="all, delete-orphan", lazy="selectin")}`.

    :raises WiringError: if an aggregate has no version
    """
    if not list(mapping.mappers):
        _start_mappers()
    ensure_versions(mapping)


def _start_mappers() -> None:
    mapping.map_imperatively(User, users, version_id_col=users.c.version)
    mapping.map_imperatively(Coupon, coupons, version_id_col=coupons.c.version)
    mapping.map_imperatively(CouponBatch, coupon_batches, version_id_col=coupon_batches.c.version)
    event.listen(User, "before_insert", _set_email_key)
    event.listen(User, "before_update", _set_email_key)
    configure_mappers()


def _set_email_key(mapper: Any, connection: Any, user: Any) -> None:
    """Store the form in which an address is compared: SQL's lower() knows only ASCII."""
    user.email_key = user.email.key
