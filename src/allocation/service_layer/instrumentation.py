"""What observers see of the work, as it happens. What they raise is logged, and hurts nobody.

An observer is asked for a context manager at the begin of each operation, which then sees its end
and its error, in the task that runs it. Source of the shape: stamina, OpenTelemetry.
"""

import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from inspect import CORO_CLOSED, CORO_CREATED, getcoroutinestate, iscoroutinefunction
from typing import Any, Literal

from allocation.service_layer.deliveries import CommandEnvelope, Committed, Delivery, WorkItem
from allocation.service_layer.exceptions import NotAwaited

Status = Literal["succeeded", "retried", "parked", "handed over", "lease lost", "conflict"]
Operation = AbstractContextManager[object]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a work item. After a conflict, its handler runs again in this attempt."""

    work: WorkItem
    status: Status
    committed: Committed = field(default_factory=Committed)


class Observer:
    """Watches the work; each method may be left as it is. Seconds are the time limit."""

    def command(self, envelope: CommandEnvelope, seconds: float) -> Operation:
        """Watch the handler of a command."""
        return nullcontext()

    def attempt(self, delivery: Delivery, seconds: float) -> Operation:
        """Watch an attempt of a delivery."""
        return nullcontext()

    def port_call(self, port: str, method: str) -> Operation:
        """Watch a call to an external system, within an attempt."""
        return nullcontext()

    def finished(self, outcome: Outcome) -> None:
        """See what became of a work item, after its operation has ended."""


class Instrumentation(Observer):
    """Several observers as one that never fails."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.observers = observers

    def command(self, envelope: CommandEnvelope, seconds: float) -> Operation:
        """Let each watch the handler of a command."""
        return _Operations([_safely(o.command, envelope, seconds) for o in self.observers])

    def attempt(self, delivery: Delivery, seconds: float) -> Operation:
        """Let each watch an attempt."""
        return _Operations([_safely(o.attempt, delivery, seconds) for o in self.observers])

    def port_call(self, port: str, method: str) -> Operation:
        """Let each watch a call to an external system."""
        return _Operations([_safely(o.port_call, port, method) for o in self.observers])

    def finished(self, outcome: Outcome) -> None:
        """Report an outcome to each."""
        for observer in self.observers:
            _safely(observer.finished, outcome)


class _Operations:
    """The operations of all observers: begun in their order, and ended in the opposite one."""

    def __init__(self, operations: Sequence[Operation | None]) -> None:
        self._operations, self._open = operations, list[Operation]()

    def __enter__(self) -> None:
        for operation in filter(None, self._operations):
            _safely(self._begin, operation)

    def _begin(self, operation: Operation) -> None:
        operation.__enter__()
        self._open.append(operation)

    def __exit__(self, *error: Any) -> None:
        while self._open:
            _safely(self._open.pop().__exit__, *error)


def _safely(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except KeyboardInterrupt:
        raise
    except BaseException:
        logger.exception("an observer failed")


class InstrumentedPort:
    """Stands for a port with an external effect: observers see its calls, which must be awaited."""

    def __init__(self, instrumentation: Instrumentation, name: str, port: object) -> None:
        self._instrumentation, self._name, self._port = instrumentation, name, port

    def __getattr__(self, method: str) -> Any:
        member = getattr(self._port, method)
        if not iscoroutinefunction(member):
            return member

        async def call(*args: Any, **kwargs: Any) -> Any:
            with self._instrumentation.port_call(self._name, method):
                return await member(*args, **kwargs)

        def tracked(*args: Any, **kwargs: Any) -> Any:
            running = call(*args, **kwargs)
            if tracker := _tracker.get():
                tracker.add(f"{self._name}.{method}", running)
            return running

        return tracked


class track_calls:  # noqa: N801 - reads as a statement, and a generator would cost more
    """Raise NotAwaited if a call to a port has not come to its end, or comes afterwards.

    Python only warns of a forgotten `await`, so an e-mail would count as sent that never was.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[str, Coroutine[Any, Any, Any]]] = []
        self._is_over = False

    def __enter__(self) -> None:
        self._token = _tracker.set(self)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        _tracker.reset(self._token)
        self._is_over = True
        late = [name for name, call in self._calls if not _has_ended(call)]
        if late and error is None:
            raise NotAwaited(late[0])

    def add(self, name: str, call: Coroutine[Any, Any, Any]) -> None:
        """Remember a call that the handler makes."""
        if self._is_over:
            call.close()
            raise NotAwaited(name)
        self._calls.append((name, call))


_tracker: ContextVar[track_calls | None] = ContextVar("tracker", default=None)


def _has_ended(call: Coroutine[Any, Any, Any]) -> bool:
    state = getcoroutinestate(call)
    if state == CORO_CREATED:
        call.close()  # or a task that has it would still begin it
    return state == CORO_CLOSED
