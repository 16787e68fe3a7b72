"""How a person names what events are about, where it is not by an id: the application says it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from aftercommit.errors import InvalidValue

if TYPE_CHECKING:
    from aftercommit.sql.database import Database

SubjectQuery = Callable[["Database"], Awaitable[Sequence[UUID | str]]]
"""Finds the subjects of events: the ids of those whom they are about, or as they are written."""
FindSubjects = Callable[[str], SubjectQuery]
"""Returns the query for whom a person means by a text that is no id, such as a name.

It raises an error of the kind "invalid" for what cannot mean anybody, before anything is opened.
"""


def as_written(text: str) -> SubjectQuery:
    """Return the query for the subject that is the text itself, such as a number."""

    async def query(database: Database) -> Sequence[str]:
        return [text]

    return query


def nothing_but_ids(text: str) -> SubjectQuery:
    """Find nobody by another text.

    :raises InvalidValue: always
    """
    raise InvalidValue("nothing", "is found by another text")
