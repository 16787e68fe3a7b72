"""SQLAlchemy dialects for both event loops: `sqlite+anyio` and `postgresql+anyio`.

SQLAlchemy's asyncio extension needs only greenlets and awaitables, but its stock drivers need
asyncio. Here the synchronous ones, sqlite3 and psycopg, run in threads. An application need not
import this package: SQLAlchemy does, for a URL that names one of its dialects. A test can, to say
how calls of the driver are made. See README.md for its promises.
"""

from sqlalchemy_anyio.connection import ThreadedConnection, run_calls_with
from sqlalchemy_anyio.thread_calls import CallRunner, ThreadCall

__all__ = ["CallRunner", "ThreadCall", "ThreadedConnection", "run_calls_with"]
