"""SQLAlchemy dialects for both event loops: `sqlite+anyio` and `postgresql+anyio`.

SQLAlchemy's asyncio extension needs only greenlets and awaitables, but its stock drivers need
asyncio. Here the synchronous ones, sqlite3 and psycopg, run in threads. Nobody imports this
package: SQLAlchemy does, for a URL that names one of its dialects. See README.md for its promises.
"""
