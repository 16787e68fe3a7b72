"""What the engine cannot compute: the time, new ids, secrets, and chance."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where an application has its clock, its ids, its secrets and its chance from.

    A handler gets the first three by the names of its parameters: `now`, `new_id`, `new_token`. A
    test gives others to `open_application` or to an `Outbox`: with those of a seed, the same
    happens again; `testing.let_time_pass` moves the time. Leases and due times are not among them:
    these go by the database's clock.

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
    """Return the time of what is recorded, with a time zone."""
    new_id: Callable[[], UUID] = uuid4
    """Return an id that nobody has and nobody can guess: of an event, a command, a decision."""
    new_token: Callable[[], str] = lambda: token_hex(16).upper()
    """Return 32 hexadecimal digits that nobody can guess: for a coupon, or a link in an e-mail."""
    random: Callable[[], float] = random.random
    """Return a number from 0 to 1: pauses before another attempt are drawn, so that they differ."""


SYSTEM = Sources()
"""Those of the machine."""


def for_handlers(
    sources: Callable[[], Sources], taken: Collection[str]
) -> dict[str, Callable[[], Any]]:
    """Return what handlers get by name, of the `sources` of that moment; less what is `taken`."""
    given: dict[str, Callable[[], Any]] = {
        "now": lambda: sources().now(),
        "new_id": lambda: sources().new_id(),
        "new_token": lambda: sources().new_token(),
    }
    return {name: value for name, value in given.items() if name not in taken}
