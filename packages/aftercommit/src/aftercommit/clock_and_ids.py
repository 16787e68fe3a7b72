"""Where the engine gets what it cannot: the time, new ids, secrets, and random numbers."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The clock of an application, and its sources of ids, secrets and random numbers.

    A handler gets the first three by the names of its parameters: `now`, `new_id`, `new_token`. A
    test passes its own to `open_application` or to an `Outbox`: seeded ones make a run repeatable,
    and `testing.let_time_pass` moves the time. Leases and due times follow the database's clock.

    >>> import datetime, itertools, uuid
    >>> from aftercommit import Sources
    >>> numbers = itertools.count(1)
    >>> sources = Sources(
    ...     now=lambda: datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC),
    ...     new_id=lambda: uuid.UUID(int=next(numbers)),
    ...     random=lambda: 0.5,
    ... )
    >>> str(sources.new_id())
    '00000000-0000-0000-0000-000000000001'
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """Return the time, with a time zone, for what is recorded."""
    new_id: Callable[[], UUID] = uuid4
    """Return a new id that nobody can guess: of an event, a command or a decision."""
    new_token: Callable[[], str] = lambda: token_hex(16).upper()
    """Return 32 hexadecimal digits that nobody can guess: for a ticket, or a secret link."""
    random: Callable[[], float] = random.random
    """Return a number from 0 to 1, from which the delays before another attempt are drawn."""


SYSTEM = Sources()
"""The sources of this machine: its clock and its random generator."""


def for_handlers(
    sources: Callable[[], Sources], taken: Collection[str]
) -> dict[str, Callable[[], Any]]:
    """Return what handlers get by name from the current `sources`, except the names `taken`."""
    given: dict[str, Callable[[], Any]] = {
        "now": lambda: sources().now(),
        "new_id": lambda: sources().new_id(),
        "new_token": lambda: sources().new_token(),
    }
    return {name: value for name, value in given.items() if name not in taken}
