"""What observers see of the work, as it happens. What they raise is logged, and hurts nobody.

An observer is asked for a context manager at the begin of each operation, which then sees its end
and its error, in the task that runs it. Source of the shape: stamina, OpenTelemetry.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from aftercommit.claims import Claim, CommandWork, Committed, WorkItem

Status = Literal["succeeded", "retried", "parked", "handed over", "lease lost", "conflict"]
MessageOutcome = Literal["executed", "repeated", "ignored", "dead", "unanswered"]
Operation = AbstractContextManager[object]

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a work item. After a conflict, its handler runs again in this attempt.

    `handler` is what the handler of a delivery that succeeded is called now; `work` may have an
    old name.

    >>> from aftercommit import Observer, Outcome
    >>> class Printer(Observer):
    ...     def finished(self, outcome: Outcome) -> None:
    ...         print(outcome.work.name, outcome.status)
    """

    work: WorkItem
    status: Status
    committed: Committed = field(default_factory=Committed)
    handler: str = ""


class Observer:
    """Watches the work; each method may be left as it is.

    An operation has `seconds` to end, with all that it waits for: more than its handler may take.

    >>> import anyio, uuid
    >>> from aftercommit import Observer
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> class Printer(Observer):
    ...     def finished(self, outcome):
    ...         print(outcome.work.name, outcome.status)
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({}), observers=[Printer()]) as application:
    ...         await application.bus.execute(order)
    >>> anyio.run(main)
    PlaceOrder succeeded
    """

    def command(self, work: CommandWork, seconds: float) -> Operation:
        """Watch the handler of a command."""
        return nullcontext()

    def attempt(self, claim: Claim, seconds: float) -> Operation:
        """Watch an attempt of a delivery."""
        return nullcontext()

    def port_call(self, port: str, method: str) -> Operation:
        """Watch a call to an external system, within an attempt."""
        return nullcontext()

    def finished(self, outcome: Outcome) -> None:
        """See what became of a work item, after its operation has ended, or has been cancelled."""

    def message(self, source: str, outcome: MessageOutcome) -> None:
        """See what became of a message from a broker: of "commands", or of a subscription.

        One that comes again since its acknowledgement was lost is seen again. "unanswered" is told
        besides: its sender has asked for an answer that could not be sent.
        """


class CompositeObserver:
    """Several observers as one that never fails, with the same methods.

    A method of an observer that leaves it as it is, is not called. The others see an operation end
    in the opposite order.

    >>> import anyio
    >>> from aftercommit import CompositeObserver, Observer
    >>> class Printer(Observer):
    ...     def port_call(self, port, method):
    ...         print("calls", port, method)
    ...         raise ZeroDivisionError  # is logged
    >>> class Bell:
    ...     async def ring(self):
    ...         print("ding")
    >>> bell = CompositeObserver([Printer()]).port("bell", Bell())
    >>> anyio.run(bell.ring)
    calls bell ring
    ding
    """

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.observers = observers
        self.command = _operation(observers, Observer.command)
        self.attempt = _operation(observers, Observer.attempt)
        self.port_call = _operation(observers, Observer.port_call)
        self._finished = _watching(observers, Observer.finished)
        self._message = _watching(observers, Observer.message)

    def finished(self, outcome: Outcome) -> None:
        """Report an outcome to each."""
        for finished in self._finished:
            try:
                finished(outcome)
            except BaseException as problem:
                _log(problem)

    def message(self, source: str, outcome: MessageOutcome) -> None:
        """Report what became of a message to each."""
        for message in self._message:
            try:
                message(source, outcome)
            except BaseException as problem:
                _log(problem)

    def port(self, name: str, port: object) -> Any:
        """Return what stands for a port with an external effect: observers see its calls.

        It is used as the port is: an async function is called, a client is entered.
        """
        kind, own = type(port), dir(_ObservedPort)
        found = {each: getattr(kind, each, None) for each in dir(kind) if each not in own}
        special = {each: _forward(each, m) for each, m in found.items() if _is_special(each, m)}
        return type("ObservedPort", (_ObservedPort,), special)(self, name, port)


def _watching(
    observers: Sequence[Observer], method: Callable[Concatenate[Observer, P], R]
) -> Sequence[Callable[P, R]]:
    """Return this method of those who do not leave it as it is: the others cost nothing."""
    found = [getattr(each, method.__name__) for each in observers]
    return [each for each in found if getattr(each, "__func__", each) is not method]


def _operation(
    observers: Sequence[Observer], method: Callable[Concatenate[Observer, P], Operation]
) -> Callable[P, Operation]:
    """Return what begins an operation for all who watch operations of this kind."""
    watching, unwatched = _watching(observers, method), nullcontext()
    if not watching:
        return lambda *args, **kwargs: unwatched
    return lambda *args, **kwargs: _Watched([partial(each, *args, **kwargs) for each in watching])


class _Watched:
    """One operation, for all who watch it; a class, since a generator takes twice as long."""

    def __init__(self, begin: Sequence[Callable[[], Operation]]) -> None:
        self._begin = begin
        self._begun = list[Operation]()

    def __enter__(self) -> None:
        for begin in self._begin:
            try:
                operation = begin()
                operation.__enter__()
                self._begun.append(operation)
            except BaseException as problem:
                _log(problem)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for operation in reversed(self._begun):
            try:
                operation.__exit__(kind, error, trace)
            except BaseException as problem:
                _log(problem)


def _log(problem: BaseException) -> None:
    """Log what an observer has raised; Ctrl-C is not its own, and passes."""
    if isinstance(problem, KeyboardInterrupt):
        raise problem
    logger.exception("an observer failed")


class _ObservedPort:
    def __init__(self, instrumentation: CompositeObserver, name: str, port: object) -> None:
        self._instrumentation, self._name, self._port = instrumentation, name, port

    def __getattr__(self, method: str) -> Any:
        return self._observe(method, getattr(self._port, method))

    def _observe(self, method: str, member: Any) -> Any:
        if not iscoroutinefunction(member):
            return member

        async def call(*args: Any, **kwargs: Any) -> Any:
            with self._instrumentation.port_call(self._name, method):
                return await member(*args, **kwargs)

        return call


def _is_special(name: str, method: object) -> bool:
    """Tell what Python looks up in the type of an object, where `__getattr__` does not reach."""
    return name.startswith("__") and callable(method) and name != "__del__"


def _forward(name: str, method: Any) -> Callable[..., Any]:
    def call(self: _ObservedPort, *args: Any, **kwargs: Any) -> Any:
        port = self._port
        is_called = name == "__call__" and iscoroutinefunction(port)
        member = port if is_called else partial(method, port)
        return self._observe(name, member)(*args, **kwargs)

    return call
