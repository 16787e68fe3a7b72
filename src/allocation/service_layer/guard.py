"""Guards what a handler is given: a call that was not awaited to its end has done nothing.

Python only warns of a forgotten `await`, so an e-mail would count as sent that never was. And what
is called after the last word comes too late, under whatever name it was kept.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from inspect import CORO_CLOSED, CORO_CREATED, getcoroutinestate, iscoroutine
from typing import Any

from allocation.service_layer.exceptions import NotAwaited


class Calls:
    """The calls that one attempt makes to what it was given."""

    def __init__(self, refuse: Callable[[str], Exception]) -> None:
        self.are_over = False
        self._refuse = refuse
        self._begun: list[tuple[str, Coroutine[Any, Any, Any]]] = []

    def guarded(self, name: str, resource: object) -> Any:
        """Return a stand-in for a resource: the same, but its calls are known here."""
        return _Guarded(self, name, resource)

    def begin(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function.

        :raises Exception: what `refuse` returns for its name, if it is too late for that
        """
        if self.are_over:
            raise self._refuse(name)
        result = function(*args, **kwargs)
        if iscoroutine(result):
            self._begun.append((name, result))
        return result

    def end(self) -> None:
        """Let nothing more be called.

        :raises NotAwaited: if a call has not come to its end
        """
        self.are_over = True
        late = [name for name, coroutine in self._begun if not _has_ended(coroutine)]
        if late:
            raise NotAwaited(late[0])


def _has_ended(coroutine: Coroutine[Any, Any, Any]) -> bool:
    state = getcoroutinestate(coroutine)
    if state == CORO_CREATED:
        coroutine.close()  # or a task that has it would still begin it
    return state == CORO_CLOSED


class _Guarded:
    def __init__(self, calls: Calls, name: str, resource: object) -> None:
        self._calls, self._name, self._resource = calls, name, resource

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._resource, name)
        if not callable(member):
            return member
        return partial(self._calls.begin, f"{self._name}.{name}", member)
