"""How the engine of a database is made, if the application has one: see `outbox/own_pool.py`."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


class GivenEngine(NamedTuple):
    """What makes the engine of a database, with a pool of its own; without one, the URL does."""

    create: Callable[..., AsyncEngine] = create_async_engine
    connects: bool = False  # as the one that was given does, whatever the URL is
    driver: str = ""  # what `check` says of it
    beside: str = ""  # and of the connections of the application


NOT_GIVEN = GivenEngine()
