"""What every table of a schema shares, and the one that says whose schema it is."""

from datetime import UTC, datetime

import sqlalchemy as sa

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names for constraints and indexes, by which migrations and `Refusals` find them.

>>> import sqlalchemy as sa
>>> from aftercommit import NAMING_CONVENTION
>>> number = sa.Column("number", sa.Integer, unique=True)
>>> orders = sa.Table("orders", sa.MetaData(naming_convention=NAMING_CONVENTION), number)
>>> sorted(str(each.name) for each in orders.constraints)
['pk_orders', 'uq_orders_number']
"""


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A time in UTC, whatever the server's time zone, and whether the database knows zones or not.

    >>> import sqlalchemy as sa
    >>> from aftercommit import UtcDateTime
    >>> orders = sa.Table("orders", sa.MetaData(), sa.Column("placed_at", UtcDateTime))
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or value.tzinfo:
            return value and value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)

application = sa.Table(  # has one row: whose schema it is
    "aftercommit_application",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    # always true, and unique: so there is no second row
    sa.Column("is_the_only_one", sa.Boolean, nullable=False, server_default=sa.true()),
)
sa.Index("uq_aftercommit_application_is_the_only_one", application.c.is_the_only_one, unique=True)
