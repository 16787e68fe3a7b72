"""Where things are stored: tables, mapping, migrations, and the unit of work."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from aftercommit import (
    NAMING_CONVENTION,
    Database,
    History,
    Repository,
    Transaction,
    ensure_versions,
)
from sqlalchemy.orm import configure_mappers, registry, relationship

from aftercommit_tests.things.domain import (
    Club,
    ClubNotFound,
    Line,
    Member,
    NameTaken,
    Thing,
    ThingId,
    ThingNotFound,
)

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
things = sa.Table(
    "things",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("version", sa.Integer, nullable=False),
)
lines = sa.Table(
    "lines",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
clubs = sa.Table(
    "clubs",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("limit", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
members = sa.Table(
    "members",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("club_id", sa.Uuid, sa.ForeignKey(clubs.c.id), nullable=False),
    sa.Column("name", sa.String, nullable=False),
)
HISTORY = History("things", metadata, [Path(__file__).parent / "migrations"])
mapping = registry(metadata=metadata)


def start_mappers() -> None:
    """Map things, lines and clubs onto their tables; calling it again changes nothing."""
    if not list(mapping.mappers):
        _map_all()
    ensure_versions(mapping)
    configure_mappers()


def _map_all() -> None:
    mapping.map_imperatively(Thing, things, version_id_col=things.c.version)
    mapping.map_imperatively(Line, lines, version_id_col=lines.c.version)
    mapping.map_imperatively(Member, members)
    parts = relationship(Member, cascade="all, delete-orphan", lazy="selectin")
    version = clubs.c.version
    mapping.map_imperatively(Club, clubs, version_id_col=version, properties={"members": parts})


class UnitOfWork:
    """What a handler may change."""

    def __init__(self, transaction: Transaction) -> None:
        self.things = Repository[Thing, ThingId](transaction, Thing, ThingNotFound)
        self.clubs = Repository[Club, UUID](transaction, Club, ClubNotFound)
        self.transaction = transaction

    def write(self, text: str) -> None:
        """Write a line with the commit."""
        self.transaction.add(Line(text))

    def refusals(self, seen: Sequence[object]) -> Mapping[str, Exception]:
        """Return the rule that only the database can check."""
        match [entity for entity in seen if isinstance(entity, Thing)]:
            case [thing]:
                return {"uq_things_name": NameTaken(thing.name)}
        return {}


async def find_thing(database: Database, name: str) -> Sequence[UUID]:
    """Return the id of the thing with this name, if there is one."""
    async with database.read_transaction() as transaction:
        wanted = sa.select(things.c.id).where(things.c.name == name)
        return (await transaction.execute(wanted)).scalars().all()
