"""What your own engine needs for a SQLite file to which a worker writes, too.

engine = create_async_engine("sqlite+aiosqlite:///shop.db")
prepare(engine)
"""

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit.database.sqlite_backend import begin, set_up


def prepare(engine: AsyncEngine | Engine) -> None:
    """Make transactions of this engine wait for other writers instead of failing.

    The journal and the pragmas are those of the worker. A transaction begins as a writer, with
    BEGIN IMMEDIATE, because one that has read first could not wait. For transactions that only
    read, and wait for nobody, use `engine.execution_options(sqlite_begin="BEGIN")`. A listener of
    yours that emits BEGIN does no harm if it was added before. It ignores engines of other
    databases.

    >>> from aftercommit.sqlite import prepare
    >>> from sqlalchemy.ext.asyncio import create_async_engine
    >>> engine = create_async_engine("sqlite+aiosqlite:///shop.db")
    >>> prepare(engine)
    """
    engine = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
