"""The tables, how the aggregates are mapped onto them, and the unit of work."""

from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from aftercommit import NAMING_CONVENTION, History, Repository, Transaction, ensure_versions
from sqlalchemy.orm import configure_mappers, registry

from examples.checkout.domain import Checkout, Stock, UnknownArticle, UnknownOrder

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
stocks = sa.Table(
    "stocks",
    metadata,
    sa.Column("article", sa.String, primary_key=True),
    sa.Column("free", sa.Integer, nullable=False),
    sa.Column("shipped", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
checkouts = sa.Table(
    "checkouts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("article", sa.String, nullable=False),
    sa.Column("pieces", sa.Integer, nullable=False),
    sa.Column("card", sa.String, nullable=False),
    sa.Column("is_reserved", sa.Boolean, nullable=False),
    sa.Column("is_shipping", sa.Boolean, nullable=False),
    sa.Column("is_refunded", sa.Boolean, nullable=False),
    sa.Column("payment", sa.String, nullable=False),
    sa.Column("cancelled", sa.String),
    sa.Column("version", sa.Integer, nullable=False),
)
HISTORY = History("checkout", metadata, [Path(__file__).parent / "migrations"])
mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the classes; calling it again changes nothing."""
    if not list(mapping.mappers):
        mapping.map_imperatively(Stock, stocks, version_id_col=stocks.c.version)
        mapping.map_imperatively(Checkout, checkouts, version_id_col=checkouts.c.version)
    ensure_versions(mapping)
    configure_mappers()


class UnitOfWork:
    """The repositories, in the transaction that the engine opens for each attempt."""

    def __init__(self, transaction: Transaction) -> None:
        self.stocks = Repository[Stock, str](transaction, Stock, UnknownArticle)
        self.checkouts = Repository[Checkout, UUID](transaction, Checkout, UnknownOrder)
