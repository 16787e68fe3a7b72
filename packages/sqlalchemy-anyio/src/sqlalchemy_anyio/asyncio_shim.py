"""Lets SQLAlchemy's asyncio extension run on Trio, too. Used by the dialects.

Whatever the driver, SQLAlchemy itself calls asyncio in two places, without a hook for either:

- `async with` closes a session or connection in a task of its own, so that cancellation cannot
  interrupt it: `asyncio.create_task` and `asyncio.shield`;
- the first connection of a pool is made under a lock: `asyncio.Lock`.

So the modules that do this get a replacement under the name `asyncio`. On asyncio, all of its
attributes are asyncio's own; on Trio, those three are replaced.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from anyio import CancelScope
from anyio.lowlevel import current_token
from sqlalchemy.ext.asyncio import base, engine, session
from sqlalchemy.util import concurrency

T = TypeVar("T")


def install_shim() -> None:
    """Install the replacement. Calling it again changes nothing."""
    of_locks = sys.modules[concurrency.AsyncAdaptedLock.__module__]
    for module in (base, engine, session, of_locks):
        if "asyncio" in vars(module):  # which of them depends on the version
            vars(module)["asyncio"] = SHIM


class AsyncioShim:
    """Asyncio itself on asyncio; on Trio, its equivalents there."""

    def __init__(self, asyncio: Any, on_trio: dict[str, Callable[..., Any]]) -> None:
        self._asyncio = asyncio
        self._on_trio = on_trio

    def __getattr__(self, name: str) -> Any:
        if name in self._on_trio and not _is_asyncio():
            return self._on_trio[name]
        return getattr(self._asyncio, name)


def _is_asyncio() -> bool:
    return hasattr(current_token().native_token, "call_soon_threadsafe")


def _no_task(coroutine: T) -> T:
    """Leave the coroutine to `shield`, where SQLAlchemy awaits it next."""
    return coroutine


async def _shield(awaitable: Awaitable[T]) -> T:
    with CancelScope(shield=True):
        result = await awaitable
    return result  # noqa: RET504 - inside, mypy fears that the scope swallows an error


SHIM = AsyncioShim(
    vars(concurrency)["asyncio"],
    {"create_task": _no_task, "shield": _shield, "Lock": anyio.Lock},
)
