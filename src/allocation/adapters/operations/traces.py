"""The query behind a trace: all stories that something is part of."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.operations.exceptions import TraceNotFound
from allocation.adapters.operations.stories import commands_of, events_of
from allocation.adapters.operations.trees import TraceNode, tree
from allocation.adapters.orm import commands, events, users
from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import EmailAddress

MAX_STORIES = 100
DIGITS = 8  # of an id: what is shown of it, and the fewest that it is found by


@dataclass(frozen=True, slots=True)
class SomeId:
    """The id of a story, command, event or user, or its first digits.

    :raises InvalidValue: if it cannot be one
    """

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(f"[0-9a-f]{{{DIGITS},32}}", self._digits):
            rule = f"neither an e-mail address nor an id, nor {DIGITS} or more of its first digits"
            raise InvalidValue("ID", f"{self.text!r} is {rule}")

    def __str__(self) -> str:
        return self.text

    @property
    def range(self) -> tuple[UUID, UUID]:
        """The first and the last id that it may be."""
        return UUID(self._digits.ljust(32, "0")), UUID(self._digits.ljust(32, "f"))

    @property
    def _digits(self) -> str:
        return self.text.removesuffix("…").replace("-", "").lower()


Sought = SomeId | EmailAddress


async def trace(database: Database, about: Sought) -> Sequence[TraceNode]:
    """Return the newest MAX_STORIES that it is part of as a tree: see `trees.tree`.

    An e-mail address stands for the user who holds it now. There are as many statements for a long
    story as for a short one.

    :raises TraceNotFound: if it is part of none
    """
    async with database.reading() as session:
        correlation_ids = await stories_with(session, about)
        rows = await events_of(session, database, correlation_ids)
        accepted = await commands_of(session, correlation_ids)
    if not (nodes := tree(accepted, rows)):
        raise TraceNotFound(about, _NAMES[type(about)])
    return nodes


async def stories_with(session: Session, about: Sought) -> Collection[UUID]:
    """Return the correlation ids of the newest MAX_STORIES that it is part of."""
    ids = about.range if isinstance(about, SomeId) else await _user_with(session, about)
    return await _stories(session, *ids) if ids else []


async def _user_with(session: Session, email: EmailAddress) -> tuple[UUID, UUID] | None:
    statement = sa.select(users.c.id).where(users.c.email_key == email.key)
    user_id = (await session.execute(statement)).scalar_one_or_none()
    return user_id and (user_id, user_id)


async def _stories(session: Session, first: UUID, last: UUID) -> Collection[UUID]:
    """Return the correlation ids of the newest stories, each part by an index of its own."""
    found = sa.union_all(
        *(_stories_of_commands(column.between(first, last)) for column in _IDS_OF_COMMANDS),
        *(_stories_of_events(column.between(first, last)) for column in _IDS_OF_EVENTS),
        _stories_of_events(events.c.subject.between(str(first), str(last))),
    ).subquery()
    newest = sa.func.max(found.c.time).desc()
    statement = sa.select(found.c.correlation_id).group_by(found.c.correlation_id)
    return (await session.execute(statement.order_by(newest).limit(MAX_STORIES))).scalars().all()


_NAMES = {
    SomeId: "the id of a story, command, event or user",
    EmailAddress: "the e-mail address of a user",
}
_IDS_OF_COMMANDS = (commands.c.id, commands.c.correlation_id)
_IDS_OF_EVENTS = (events.c.id, events.c.correlation_id)


def _stories_of_commands(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    columns = (commands.c.correlation_id, commands.c.accepted_at.label("time"))
    return sa.select(*columns).where(which)


def _stories_of_events(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    columns = (events.c.correlation_id, events.c.recorded_at.label("time"))
    return sa.select(*columns).where(which)
