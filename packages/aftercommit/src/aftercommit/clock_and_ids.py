"""What the engine cannot compute: the time, new ids, and chance."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where an application has its clock, its ids and its chance from.

    A test gives others to `open_application` or to an `Outbox`: with those of a seed, the same
    happens again. Leases and due times are not among them: these go by the database's clock.

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
    random: Callable[[], float] = random.random
    """Return a number from 0 to 1: pauses before another attempt are drawn, so that they differ."""


SYSTEM = Sources()
"""Those of the machine."""
