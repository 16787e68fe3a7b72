"""The domain: things, lines that handlers write, clubs with members."""

from dataclasses import dataclass
from itertools import count
from typing import ClassVar, NewType
from uuid import UUID, uuid4

ThingId = NewType("ThingId", UUID)


class Command:
    """Base of all commands."""


class Event:
    """Base of all events."""


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
class BreakThing(Command):
    """Let a thing fall down."""

    thing_id: ThingId


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
class ThingPolished(Event):
    """A thing shines."""

    thing_id: ThingId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingBroken(Event):
    """A thing has fallen down."""

    thing_id: ThingId


class Refusal(Exception):
    """A rule of the domain refuses it."""

    error_kind: ClassVar[str] = "refused"


class ThingNotFound(Refusal):
    """No thing has this id."""

    def __init__(self, thing_id: object) -> None:
        super().__init__(f"there is no thing {thing_id}")


class NameTaken(Refusal):
    """Another thing has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a thing called {name}")


class ClubNotFound(Refusal):
    """No club has this id."""

    def __init__(self, club_id: object) -> None:
        super().__init__(f"there is no club {club_id}")


class ClubIsFull(Refusal):
    """A club has as many members as it may."""

    def __init__(self, club_id: object) -> None:
        super().__init__(f"club {club_id} is full")


class InvalidName(Exception):
    """A thing has to be called something."""

    error_kind: ClassVar[str] = "invalid"


_NUMBERS = count()  # in the order in which events were recorded, of whatever aggregates


class Aggregate:
    """What all aggregates have in common."""

    version: int
    recorded_events: tuple[Event, ...] = ()
    recorded_numbers: tuple[int, ...] = ()
    id: UUID

    @property
    def subject(self) -> str:
        """What its events are about."""
        return str(self.id)

    def record(self, event: Event) -> None:
        """Remember that `event` happened, in order."""
        self.recorded_events += (event,)
        self.recorded_numbers += (next(_NUMBERS),)

    def pull_events(self) -> tuple[Event, ...]:
        """Hand over the recorded events, once."""
        drained, self.recorded_events, self.recorded_numbers = self.recorded_events, (), ()
        return drained


class Thing(Aggregate):
    """Something that has a name."""

    id: ThingId

    def __init__(self, thing_id: ThingId, name: str) -> None:
        if not name:
            raise InvalidName("a thing has to have a name")
        self.id, self.name, self.version = thing_id, name, 0

    @classmethod
    def make(cls, thing_id: ThingId, name: str) -> "Thing":
        """Make a thing, and record ThingMade."""
        thing = cls(thing_id, name)
        thing.record(ThingMade(thing_id=thing_id, name=name))
        return thing

    def rename(self, name: str) -> None:
        """Take another name, and record ThingRenamed if it differs."""
        if name != self.name:
            self.name = name
            self.record(ThingRenamed(thing_id=self.id, name=name))

    def polish(self) -> None:
        """Record ThingPolished."""
        self.record(ThingPolished(thing_id=self.id, name=self.name))

    def fall(self) -> None:
        """Record ThingBroken."""
        self.record(ThingBroken(thing_id=self.id))


class Member:
    """A part of a club: it is reached through the club, and never alone."""

    def __init__(self, name: str) -> None:
        self.id, self.name = uuid4(), name


class Club(Aggregate):
    """An aggregate with parts: what it enforces is about all of them."""

    def __init__(self, limit: int) -> None:
        self.id, self.limit, self.version = uuid4(), limit, 0
        self.members: list[Member] = []

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


class Line(Aggregate):
    """What a handler has written: it shows how often that took effect."""

    def __init__(self, text: str) -> None:
        self.id, self.text, self.version = uuid4(), text, 0
