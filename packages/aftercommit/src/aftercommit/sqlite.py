"""What an engine of your own needs for a SQLite file that a worker writes to as well.

engine = create_async_engine("sqlite+aiosqlite:///shop.db")
prepare(engine)
"""

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit.sql.sqlite_backend import begin, set_up


def prepare(engine: AsyncEngine | Engine) -> None:
    """Let transactions of this engine wait for other writers, instead of failing.

    Journal and pragmas are those of the worker; a transaction begins as a writer, with BEGIN
    IMMEDIATE, since one that has read first could not wait. For one that only reads, and waits for
    nobody: `engine.execution_options(sqlite_begin="BEGIN")`. A listener of yours that says BEGIN
    does no harm; it has to be there before. An engine of another database stays as it is.

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
