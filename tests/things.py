"""A domain for the tests of the engine: things, lines that handlers write, clubs with members.

What message bus, unit of work and outbox promise has nothing to do with users and coupons. Tests
that speak of things stay as they are when the domain of the application changes, or is replaced.
"""

from dataclasses import dataclass
from typing import NewType
from uuid import UUID, uuid4

import sqlalchemy as sa
from aftercommit.claims import IdempotencyKey
from aftercommit.errors import Refused
from aftercommit.handler_table import Handlers, on
from aftercommit.sql.aggregates import ensure_versions
from aftercommit.unit_of_work import Repository
from sqlalchemy.orm import configure_mappers, registry, relationship

from allocation.domain.aggregate import Aggregate
from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.emails import Email
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.user_mailer import EmailSender

RECIPIENT = "reader@example.com"
ThingId = NewType("ThingId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeThing(Command):
    """Make a thing, once."""

    thing_id: ThingId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameThing(Command):
    """Give a thing another name."""

    thing_id: ThingId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingMade(Event):
    """There is a new thing."""

    thing_id: ThingId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingRenamed(Event):
    """A thing has another name now."""

    thing_id: ThingId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingBroken(Event):
    """A thing has fallen down."""

    thing_id: ThingId


EVENTS: list[type[Event]] = [ThingMade, ThingRenamed, ThingBroken]


class ThingNotFound(Refused):
    """No thing has this id."""

    def __init__(self, thing_id: object) -> None:
        super().__init__(f"there is no thing {thing_id}")


class Thing(Aggregate):
    """Something that has a name."""

    def __init__(self, thing_id: ThingId, name: str) -> None:
        self.id = thing_id
        self.name = name
        self.version = 0

    @classmethod
    def make(cls, thing_id: ThingId, name: str) -> "Thing":
        """Make a thing, and record ThingMade."""
        thing = cls(thing_id, name)
        thing.record(ThingMade(thing_id=thing_id, name=name))
        return thing

    @property
    def key(self) -> ThingId:
        return self.id

    def rename(self, name: str) -> None:
        """Take another name, and record ThingRenamed if it differs."""
        if name != self.name:
            self.name = name
            self.record(ThingRenamed(thing_id=self.id, name=name))


class ClubIsFull(Refused):
    """A club has as many members as it may."""

    def __init__(self, club_id: object) -> None:
        super().__init__(f"club {club_id} is full")


class Member:
    """A part of a club: it is reached through the club, and never alone."""

    def __init__(self, name: str) -> None:
        self.id = uuid4()
        self.name = name


class Club(Aggregate):
    """An aggregate with parts: what it enforces is about all of them."""

    def __init__(self, limit: int) -> None:
        self.id = uuid4()
        self.limit = limit
        self.members: list[Member] = []
        self.version = 0

    @property
    def key(self) -> UUID:
        return self.id

    def join(self, name: str) -> None:
        """Take a member in, unless there are as many as there may be."""
        if len(self.members) >= self.limit:
            raise ClubIsFull(self.id)
        self.members.append(Member(name))

    def leave(self, name: str) -> None:
        """Let a member go."""
        self.members.remove(self._member(name))

    def rename(self, name: str, new_name: str) -> None:
        """Give a member another name."""
        self._member(name).name = new_name

    def _member(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)


class ClubNotFound(Refused):
    """No club has this id."""

    def __init__(self, club_id: object) -> None:
        super().__init__(f"there is no club {club_id}")


class Line(Aggregate):
    """What a handler has written: it shows how often that took effect."""

    def __init__(self, text: str) -> None:
        self.id = uuid4()
        self.text = text
        self.version = 0

    @property
    def key(self) -> UUID:
        return self.id


tables = sa.MetaData()
things_table = sa.Table(
    "things",
    tables,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
lines_table = sa.Table(
    "lines",
    tables,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
clubs_table = sa.Table(
    "clubs",
    tables,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("limit", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
members_table = sa.Table(
    "members",
    tables,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("club_id", sa.Uuid, sa.ForeignKey(clubs_table.c.id), nullable=False),
    sa.Column("name", sa.String, nullable=False),
)
_mapping = registry(metadata=tables)


def start_mappers() -> None:
    """Map things, lines and clubs onto their tables; calling it again changes nothing."""
    if list(_mapping.mappers):
        return
    _mapping.map_imperatively(Thing, things_table, version_id_col=things_table.c.version)
    _mapping.map_imperatively(Line, lines_table, version_id_col=lines_table.c.version)
    _mapping.map_imperatively(Member, members_table)
    members = relationship(Member, cascade="all, delete-orphan", lazy="selectin")
    properties, version = {"members": members}, clubs_table.c.version
    _mapping.map_imperatively(Club, clubs_table, version_id_col=version, properties=properties)
    ensure_versions(_mapping)
    configure_mappers()


def things_of(uow: UnitOfWork) -> Repository[Thing, ThingId]:
    """Return the things of a unit of work."""
    return Repository(uow._store, Thing, ThingNotFound)


def clubs_of(uow: UnitOfWork) -> Repository[Club, UUID]:
    """Return the clubs of a unit of work."""
    return Repository(uow._store, Club, ClubNotFound)


def write(uow: UnitOfWork, text: str) -> None:
    """Write a line with the commit."""
    uow._store.add(Line(text))


def announcement(event: ThingMade) -> Email:
    """Tell somebody that there is a new thing."""
    return Email(recipient=RECIPIENT, subject="A thing", text=f"There is {event.name}.\n")


async def make_thing(command: MakeThing, uow: UnitOfWork) -> None:
    """Make a thing, unless it is there."""
    if await things_of(uow).find(command.thing_id) is None:
        things_of(uow).add(Thing.make(command.thing_id, command.name))


async def rename_thing(command: RenameThing, uow: UnitOfWork) -> None:
    """Give a thing another name."""
    (await things_of(uow).get(command.thing_id)).rename(command.name)


async def announce(
    event: ThingMade, notifications: EmailSender, idempotency_key: IdempotencyKey
) -> None:
    """Have an external effect."""
    await notifications.send(announcement(event), idempotency_key=idempotency_key)


async def look_at(event: ThingMade) -> None:
    """Have no effect at all."""


async def write_down(event: ThingMade, uow: UnitOfWork) -> None:
    """Have an effect in the database."""
    write(uow, event.name)


HANDLERS = Handlers(
    commands=[on(MakeThing, make_thing), on(RenameThing, rename_thing)],
    events=[
        on(ThingMade, announce, look_at, write_down),
        on(ThingRenamed),
        on(ThingBroken),
    ],
)
HANDLERS_OF_THING_MADE = ["announce", "look_at", "write_down"]


def a_thing_id() -> ThingId:
    return ThingId(uuid4())


def a_thing(name: str = "lamp", *, thing_id: ThingId | None = None) -> Thing:
    return Thing.make(thing_id or a_thing_id(), name)


def a_club(*members: str, limit: int = 10) -> Club:
    club = Club(limit)
    for name in members:
        club.join(name)
    return club


def a_command(name: str = "lamp", *, thing_id: ThingId | None = None) -> MakeThing:
    return MakeThing(thing_id=thing_id or a_thing_id(), name=name)


def an_event(name: str = "lamp") -> ThingMade:
    return ThingMade(thing_id=a_thing_id(), name=name)
