"""The tables, and how the classes of the domain are mapped onto them."""

from pathlib import Path

import sqlalchemy as sa
from aftercommit import NAMING_CONVENTION, History, ensure_versions
from sqlalchemy.orm import configure_mappers, registry, relationship

from shop.domain.orders import Line, Order

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.String, nullable=False),
    sa.Column("is_cancelled", sa.Boolean, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
order_lines = sa.Table(
    "order_lines",
    metadata,
    sa.Column("order_id", sa.Uuid, sa.ForeignKey(orders.c.id), primary_key=True),
    sa.Column("article", sa.String, primary_key=True),
    sa.Column("pieces", sa.Integer, nullable=False),
)
statistics = sa.Table(
    "statistics",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)
MIGRATIONS = Path(__file__).parent / "migrations"
HISTORY = History("shop", metadata, [MIGRATIONS])
mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the classes; calling it again changes nothing."""
    if not list(mapping.mappers):
        mapping.map_imperatively(Line, order_lines)
        parts = relationship(Line, cascade="all, delete-orphan", lazy="selectin")
        mapping.map_imperatively(
            Order, orders, version_id_col=orders.c.version, properties={"lines": parts}
        )
    ensure_versions(mapping)
    configure_mappers()
