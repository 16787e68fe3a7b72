"""How the engine of a database is made if the application gives one: see `outbox/own_pool.py`."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


class GivenEngine(NamedTuple):
    """Makes the engine of a database, with its own pool; without it, the URL decides."""

    create: Callable[..., AsyncEngine] = create_async_engine
    connects: bool = False  # like the given one, whatever the URL is
    driver: str = ""  # what `check` says about it
    beside: str = ""  # and of the application's connections


NOT_GIVEN = GivenEngine()
