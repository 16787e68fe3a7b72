"""A line to a broker: the connection to publish with, made when needed, and left when it fails.

What a library's own reconnecting does with messages in flight is hard to know, so a connection that
has failed is not used again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio import current_time, fail_after, get_cancelled_exc_class

from allocation.adapters.brokers.circuit_breaker import CircuitBreaker
from allocation.adapters.brokers.exceptions import BrokerUnavailable, Undeliverable
from allocation.service_layer.guard import is_being_cancelled

CONNECT_SECONDS = 5
CONFIRM_SECONDS = 5
CLOSE_SECONDS = 2

T = TypeVar("T")


class Connection(Protocol):
    """What FastStream calls a broker."""

    async def connect(self) -> Any:
        """Open it."""

    async def stop(self) -> None:
        """Close it."""


C = TypeVar("C", bound=Connection)


@dataclass(slots=True)
class _Shared(Generic[C]):
    """A connection, and how many publish on it just now."""

    connection: C
    in_flight: int = 0


class Line(Generic[C]):
    """At most one connection in service, shared by all who publish on it.

    The first who fails takes it out of service: nobody else begins on it, and it is closed when the
    last one in flight has ended, so that nobody fails because another one did. A publish that is
    cancelled changes nothing. While the broker is known to be away, all fail at once.
    """

    def __init__(
        self,
        kind: str,
        connect: Callable[[], Awaitable[C]],
        *,
        is_lost: Callable[[C], bool],
        refusals: tuple[type[Exception], ...],
    ) -> None:
        self._kind = kind
        self._connect = connect
        self._is_lost = is_lost
        self._refusals = refusals
        self._breaker = CircuitBreaker()
        self._opening = anyio.Lock()
        self._shared: _Shared[C] | None = None

    async def send(self, deliver: Callable[[C], Awaitable[None]]) -> None:
        """Deliver a message, and return when the broker has confirmed it.

        :raises Undeliverable: if the broker refuses this message
        :raises BrokerUnavailable: if the broker does not confirm it, in a few seconds
        """
        async with self._lent() as connection:
            started = current_time()
            try:
                with fail_after(CONFIRM_SECONDS):
                    await lost_if_cancelled(deliver, connection)
            except self._refusals as error:
                raise Undeliverable(self._kind, describe(error)) from error
            except Exception as error:
                raise self._away(error, started) from error

    async def close(self) -> None:
        """Close the connection; nobody may be publishing on it."""
        shared, self._shared = self._shared, None
        if shared is not None:
            await close_quietly(shared.connection.stop)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[C]:
        shared = await self._open()
        try:
            yield shared.connection
        except Exception:
            if self._shared is shared:
                self._shared = None
            raise
        finally:
            shared.in_flight -= 1
            if self._shared is not shared and not shared.in_flight:
                await close_quietly(shared.connection.stop)

    async def _open(self) -> _Shared[C]:
        async with self._opening:
            if self._shared is None or self._is_lost(self._shared.connection):
                self._shared = None
                if failure := self._breaker.failure:
                    raise BrokerUnavailable(self._kind, describe(failure))
                started = current_time()
                try:
                    with fail_after(CONNECT_SECONDS):
                        self._shared = _Shared(await lost_if_cancelled(self._connect))
                except Exception as error:
                    raise self._away(error, started) from error
            self._shared.in_flight += 1
            return self._shared

    def _away(self, error: Exception, started: float) -> BrokerUnavailable:
        self._breaker.trip(error, started=started)
        return BrokerUnavailable(self._kind, describe(error))


async def lost_if_cancelled(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call a library that cancels its own waiters when a connection is lost.

    :raises ConnectionError: in that case; only a cancellation of ours passes as one
    """
    try:
        return await function(*args)
    except get_cancelled_exc_class() as error:
        if is_being_cancelled(error):
            raise
        raise ConnectionError("the connection was lost") from error


async def close_quietly(close: Callable[[], Awaitable[None]]) -> None:
    """Close something, but not for ever; it is broken or not needed, so no error matters."""
    with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
        await close()


def describe(error: BaseException) -> str:
    """Return what went wrong, in words, also if the library has none."""
    text = str(error).partition("\n")[0]
    if not text and isinstance(error, TimeoutError):
        return "it does not answer"
    return text or type(error).__name__
