"""How operators find what events are about by other texts than ids: the application decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from aftercommit.errors import InvalidValue

if TYPE_CHECKING:
    from aftercommit.database.database import Database

SubjectQuery = Callable[["Database"], Awaitable[Sequence[UUID | str]]]
"""Finds the subjects of events: the ids of those that events are about, as they are stored."""
FindSubjects = Callable[[str], SubjectQuery]
"""Returns the query for the subjects that a text means which is no id, such as a name.

For a text that cannot mean anything, it raises an error of the kind "invalid", before any resource
is opened.
"""


def as_written(text: str) -> SubjectQuery:
    """Return the query for the subject that is this very text, such as a number."""

    async def query(database: Database) -> Sequence[str]:
        return [text]

    return query


def nothing_but_ids(text: str) -> SubjectQuery:
    """Find nothing by another text.

    :raises InvalidValue: always
    """
    raise InvalidValue("nothing", "is found by another text")
