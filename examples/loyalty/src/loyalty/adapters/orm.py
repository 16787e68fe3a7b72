"""The tables, and how the classes of the domain are mapped onto them."""

from pathlib import Path

import sqlalchemy as sa
from aftercommit import NAMING_CONVENTION, History, ensure_versions
from sqlalchemy.orm import configure_mappers, registry, relationship

from loyalty.domain.accounts import Account, Credit

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("points", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
credits_ = sa.Table(
    "credits",
    metadata,
    sa.Column("account_id", sa.Uuid, sa.ForeignKey(accounts.c.id), primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("occasion", sa.String, nullable=False),
    sa.Column("points", sa.Integer, nullable=False),
)
statistics = sa.Table(
    "statistics",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)
MIGRATIONS = Path(__file__).parent / "migrations"
HISTORY = History("loyalty", metadata, [MIGRATIONS])
mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map the classes; calling it again changes nothing."""
    if not list(mapping.mappers):
        mapping.map_imperatively(Credit, credits_)
        parts = relationship(Credit, cascade="all, delete-orphan", lazy="selectin")
        mapping.map_imperatively(
            Account, accounts, version_id_col=accounts.c.version, properties={"credits": parts}
        )
    ensure_versions(mapping)
    configure_mappers()
