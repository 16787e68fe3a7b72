"""PostgreSQL, as the database adapter asks for it: see `adapters/kinds.py`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy import URL, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from allocation.adapters.kinds import DatabaseKind
from allocation.adapters.postgresql import connections
from allocation.adapters.postgresql.limits import Limits
from allocation.adapters.postgresql.listening import CHANNEL, listening
from allocation.adapters.postgresql.watchdog import Watchdog, WatchedCalls


class PostgreSQL(DatabaseKind):
    """A server, which may be silent for ever, or refuse, or restart at any time."""

    form = "postgresql://HOST/DATABASE"
    asyncio_driver = "asyncpg"
    # not clock_timestamp(), which may change within a statement, so that no index can be used
    clock = "extract(epoch FROM statement_timestamp())::double precision"
    wake_workers = select(func.pg_notify(CHANNEL, ""))
    lock_schema = select(func.pg_advisory_xact_lock(func.hashtext("allocation")))
    take_time = text(  # but locks come soon or never
        "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '30s', true)"
    )
    take_pauses = text("SET LOCAL idle_in_transaction_session_timeout = '1h'")  # a person may read

    def __init__(self, url: URL, *, written: str, handler_timeout: float) -> None:
        connections.check(url)
        self._url = url
        self._limits = Limits(handler_timeout)
        self._watchdog = Watchdog(self._limits.answer)

    def new_engine(self, process: str, **options: Any) -> AsyncEngine:
        return connections.new_engine(self._url, self._limits, process, **options)

    def driver_calls(self, *, takes_time: bool = False) -> WatchedCalls:
        return self._watchdog.driver_calls(takes_time=takes_time)

    def in_use(self) -> AbstractAsyncContextManager[None]:
        return self._watchdog.on_duty()

    def listening(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        return listening(engine, self._watchdog, wake)
