"""SQLAlchemy dialects for both event loops: `sqlite+anyio` and `postgresql+anyio`.

SQLAlchemy's asyncio extension needs only greenlets and awaitables, but its stock drivers need
asyncio. Here the synchronous drivers, sqlite3 and psycopg, run in threads. An application need not
import this package, because SQLAlchemy does so for a URL that names one of its dialects. A test can
import it to decide how driver calls are made. README.md says what is guaranteed.
"""

from sqlalchemy_anyio.connection import ThreadedConnection, run_calls_with
from sqlalchemy_anyio.thread_calls import CallRunner, ThreadCall

__all__ = ["CallRunner", "ThreadCall", "ThreadedConnection", "run_calls_with"]
