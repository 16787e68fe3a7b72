"""Guards against what a handler can do wrong with what it is given, and with what it raises.

Python only warns of a forgotten `await`, so an e-mail would count as sent that never was. And what
is called after the last word comes too late, under whatever name it was kept.
"""

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import CORO_CLOSED, CORO_CREATED, getcoroutinestate, iscoroutine
from typing import Any

from anyio import get_cancelled_exc_class

from allocation.service_layer.exceptions import HandlerAborted, NotAwaited


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
        """Call a function; if it is too late for that, raise what `refuse` returns for its name."""
        if self.are_over:
            raise self._refuse(name)
        result = function(*args, **kwargs)
        if iscoroutine(result):
            self._begun.append((name, result))
        return result

    def end(self) -> None:
        """Let nothing more be called; raise NotAwaited if a call has not come to its end."""
        self.are_over = True
        late = [name for name, coroutine in self._begun if not _has_ended(coroutine)]
        if late:
            raise NotAwaited(late[0])


class _Guarded:
    def __init__(self, calls: Calls, name: str, resource: object) -> None:
        self._calls, self._name, self._resource = calls, name, resource

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._resource, name)
        if not callable(member):
            return member
        return partial(self._calls.begin, f"{self._name}.{name}", member)


def _has_ended(coroutine: Coroutine[Any, Any, Any]) -> bool:
    state = getcoroutinestate(coroutine)
    if state == CORO_CREATED:
        coroutine.close()  # or a task that has it would still begin it
    return state == CORO_CLOSED


@contextmanager
def only_failing(handler: str) -> Iterator[None]:
    """Let a handler neither end the process nor make a cancellation up: HandlerAborted is raised.

    Of a group of errors, the first is raised, so that it is known and dealt with by its kind.
    """
    try:
        yield
    except BaseException as error:
        cause = _cause_of(error)
        may_pass = isinstance(cause, (Exception, KeyboardInterrupt, GeneratorExit))
        if not may_pass and not is_being_cancelled(cause):
            raise HandlerAborted(handler, cause) from error
        if cause is error:
            raise
        raise cause from error


def is_being_cancelled(error: BaseException) -> bool:
    """Tell whether `error` is the cancellation of the current task, by AnyIO or by the event loop.

    Libraries for asyncio make up cancellations, when a connection is lost for example. AnyIO knows
    only its own scopes, so asyncio is asked, if that is what runs; nobody can make up Trio's.
    """
    cancelled = get_cancelled_exc_class()
    if not isinstance(error, cancelled):
        return False
    if not cancelled.__module__.startswith("asyncio"):
        return True
    task = sys.modules["asyncio"].current_task()
    return bool(task and task.cancelling())


def _cause_of(error: BaseException) -> BaseException:
    """Return the first error of a group that is not the cancellation of the others."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    _, others = error.split(get_cancelled_exc_class())
    return _cause_of((others or error).exceptions[0])
