"""What observers see of the work as it happens. Their errors are logged, and harm nobody.

At the beginning of each operation, an observer returns a context manager, which sees the end of the
operation and its error, in the same task. The design follows stamina and OpenTelemetry.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from aftercommit.claims import Claim, CommandWork, Committed, WorkItem

Status = Literal[
    "succeeded", "given up", "retried", "parked", "handed over", "lease lost", "conflict"
]
SUCCESS: tuple[Status, Status] = "given up", "succeeded"  # of what happens instead; of a handler
MessageOutcome = Literal["executed", "repeated", "ignored", "dead", "unanswered"]
Operation = AbstractContextManager[object]

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a work item. After a conflict, the handler runs again in the same attempt.

    `handler` is the handler's current name, if a delivery succeeded; `work` may have an old one.
    `in_transaction` tells that this handler did its work in the transaction that was committed.

    >>> from aftercommit import Observer, Outcome
    >>> class Printer(Observer):
    ...     def finished(self, outcome: Outcome) -> None:
    ...         print(outcome.work.name, outcome.status)
    """

    work: WorkItem
    status: Status
    committed: Committed = field(default_factory=Committed)
    handler: str = ""
    in_transaction: bool = False


class Observer:
    """Watches the work. Override the methods you need.

    An operation has `seconds` to end, including all it waits for; longer than its handler may take.

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
        """See the result of a work item, after its operation has ended or was cancelled."""

    def message(self, source: str, outcome: MessageOutcome) -> None:
        """See what became of a broker's message, from "commands" or from a subscription.

        A message that arrives again, because its acknowledgement was lost, is seen again.
        "unanswered" comes in addition: the sender has asked for an answer that could not be sent.
        """


class CompositeObserver:
    """Several observers as one that never fails, with the same methods.

    Methods that an observer does not override are not called. They see the end of an operation in
    reverse order.

    >>> import anyio
    >>> from aftercommit import Observer
    >>> from aftercommit.observers import CompositeObserver
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
        """Report a result to each observer."""
        for finished in self._finished:
            try:
                finished(outcome)
            except BaseException as problem:
                _log(problem)

    def message(self, source: str, outcome: MessageOutcome) -> None:
        """Report to each observer what became of a message."""
        for message in self._message:
            try:
                message(source, outcome)
            except BaseException as problem:
                _log(problem)

    def port(self, name: str, port: object) -> Any:
        """Return a stand-in for a port with an external effect; observers see its calls.

        Use it like the port: an async function is called, a client is entered.
        """
        kind, own = type(port), dir(_ObservedPort)
        found = {each: getattr(kind, each, None) for each in dir(kind) if each not in own}
        special = {each: _forward(each, m) for each, m in found.items() if _is_special(each, m)}
        return type("ObservedPort", (_ObservedPort,), special)(self, name, port)


def _watching(
    observers: Sequence[Observer], method: Callable[Concatenate[Observer, P], R]
) -> Sequence[Callable[P, R]]:
    """Return this method of the observers that override it; the others cost nothing."""
    found = [getattr(each, method.__name__) for each in observers]
    return [each for each in found if getattr(each, "__func__", each) is not method]


def _operation(
    observers: Sequence[Observer], method: Callable[Concatenate[Observer, P], Operation]
) -> Callable[P, Operation]:
    """Return a function that begins an operation for all observers of this kind of operations."""
    watching, unwatched = _watching(observers, method), nullcontext()

    @contextmanager
    def operation(*args: P.args, **kwargs: P.kwargs) -> Iterator[None]:
        begun = list[Operation]()
        for begin in watching:
            try:
                operation = begin(*args, **kwargs)
                operation.__enter__()
                begun.append(operation)
            except BaseException as problem:
                _log(problem)
        ended: tuple[Any, Any, Any] = (None, None, None)
        try:
            yield
        except BaseException as error:
            ended = (type(error), error, error.__traceback__)
            raise
        finally:
            for operation in reversed(begun):
                try:
                    operation.__exit__(*ended)
                except BaseException as problem:
                    _log(problem)

    return operation if watching else lambda *args, **kwargs: unwatched


def _log(problem: BaseException) -> None:
    """Log what an observer has raised; Ctrl-C is not the observer's, and passes."""
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
    """Tell whether Python looks this name up in an object's type, without `__getattr__`."""
    return name.startswith("__") and callable(method) and name != "__del__"


def _forward(name: str, method: Any) -> Callable[..., Any]:
    def call(self: _ObservedPort, *args: Any, **kwargs: Any) -> Any:
        port = self._port
        is_called = name == "__call__" and iscoroutinefunction(port)
        member = port if is_called else partial(method, port)
        return self._observe(name, member)(*args, **kwargs)

    return call
