"""The limits of a handler: how long it may take, and what it may raise."""

import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from math import inf
from typing import Self, TypeVar

from anyio import (
    CancelScope,
    current_effective_deadline,
    current_time,
    get_cancelled_exc_class,
    get_current_task,
)

from aftercommit.claims import Claim, CommandWork, DeliveryPolicy
from aftercommit.errors import (
    Defect,
    HandlerInterrupted,
    HandlerTimeout,
    LeaseExpired,
    NotBegun,
)

T = TypeVar("T")

_own_task: ContextVar[int | None] = ContextVar("own_task", default=None)  # others inherit it


class TimeLimit:
    """The limits of one attempt, or of one command; its runs after conflicts share them.

    Each run of a reply has the handler's time `anew`: the external effect is out, so what counts is
    that the reply is stored until the lease ends.

    Who waits for others has not begun, and is not at fault: `not_begun` is raised then, and also
    if a handler is stopped by the end of the lease before it has had its time.
    """

    def __init__(
        self,
        handler: str,
        seconds: float,
        *,
        begin_by: float,
        end_by: float = inf,
        anew: bool = False,
        not_begun: Callable[[], Exception],
    ) -> None:
        self._handler, self._seconds, self._not_begun = handler, seconds, not_begun
        self._begin_by, self._end_by, self._anew = begin_by, end_by, anew
        self._scope = CancelScope(deadline=begin_by)
        self.has_begun = self._waits = self._is_short = False
        self.has_returned = False  # so an effect outside is out

    @classmethod
    def of_attempt(cls, delivery: Claim, policy: DeliveryPolicy, transactional: bool) -> Self:
        """Return the limits of an attempt, which has to end before its lease does.

        If it has effects outside, it begins only with all of its time before it.
        """
        end = policy.lease_end(delivery) - policy.last_write_seconds
        latest = end if transactional else delivery.leased_at + policy.begin_seconds
        late, seconds = partial(LeaseExpired, delivery.handler), policy.handler_timeout_seconds
        return cls(delivery.handler, seconds, begin_by=latest, end_by=end, not_begun=late)

    @classmethod
    def of_command(cls, envelope: CommandWork, policy: DeliveryPolicy, handler: str) -> Self:
        """Return the limits of a command; a reply may be stored until the lease ends."""
        seconds, late = policy.handler_timeout_seconds, partial(NotBegun, envelope.name)
        if asked := envelope.settles:
            end = policy.lease_end(asked)
            return cls(handler, seconds, begin_by=end, end_by=end, anew=True, not_begun=late)
        return cls(handler, seconds, begin_by=current_time() + seconds, not_begun=late)

    @property
    def seconds_left(self) -> float:
        """The seconds that it may take from now on, at most."""
        return min(self._begin_by + self._seconds, self._end_by) - current_time()

    async def keep(self, work: Awaitable[T]) -> T:
        """Return what this returns within the limits.

        :raises HandlerTimeout: if the handler had its time, and has not ended
        """
        with (
            self._scope,
            contain_errors(self._handler, of_engine=True),
        ):  # also if it has cancelled what follows
            return await work
        if self._waits or self._is_short:
            raise self._not_begun()
        raise HandlerTimeout(self._handler, self._seconds)

    def wait(self) -> None:
        """Note that one more run waits for its transaction."""
        self._waits = True
        if self._anew:
            self.has_begun, self._scope.deadline = False, self._begin_by

    def allows(self, pause: float) -> bool:
        """Tell whether another run can begin after a pause of so many seconds."""
        end = self._begin_by if self._anew else self._scope.deadline
        return current_time() + pause < end

    def begin(self) -> None:
        """Start the handler's time, once: now it has what it needs."""
        self._waits = False
        if self.has_begun:
            return
        now, self.has_begun = current_time(), True
        if now >= self._begin_by:
            raise self._not_begun()
        self._is_short = self._end_by < now + self._seconds
        self._scope.deadline = min(now + self._seconds, self._end_by)


class contain_errors:  # noqa: N801 - reads as a statement, and a generator would cost more
    """Let a handler neither end the process nor make a cancellation up.

    Of a group of errors, the first is raised, so that it is known and dealt with by its kind.
    Around code of the engine, Ctrl-C passes, which may be raised anywhere.

    :raises HandlerInterrupted: instead of what may not pass
    """

    def __init__(self, handler: str, *, of_engine: bool = False) -> None:
        self._handler, self._of_engine = handler, of_engine

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            return
        first = first_error(error)
        may_pass = isinstance(first, (Exception, GeneratorExit))
        may_pass |= self._of_engine and isinstance(first, KeyboardInterrupt)
        if not may_pass and not cancellation_requested(first):
            raise HandlerInterrupted(self._handler, first) from error
        try:
            str(first)  # as it will be stored
        except Exception as problem:
            text = f"{self._handler} raised {type(first).__name__}, whose text raises {problem!r}"
            raise Defect(text) from problem
        if first is not error:
            raise first


async def in_own_task(function: Callable[..., Awaitable[None]], *args: object) -> None:
    """Call a function in a task that the engine has started for it: see below.

    Tasks that a handler starts inherit the mark, and are others.
    """
    _own_task.set(get_current_task().id)
    await function(*args)


def cancellation_requested(error: BaseException) -> bool:
    """Tell a cancellation, by AnyIO or by the event loop, from one that a library has made up.

    The engine cancels its own tasks by scopes of AnyIO. So if asyncio's `cancel` ends one of them,
    nobody who runs the engine has asked for that: a handler has, or somebody who cancels all tasks.
    A task that somebody else has started, to run the engine in it, is theirs to cancel.
    """
    cancelled = get_cancelled_exc_class()
    if not isinstance(error, cancelled):
        return False
    if current_effective_deadline() == -inf or not cancelled.__module__.startswith("asyncio"):
        return True  # nobody can make up Trio's
    task = sys.modules["asyncio"].current_task()
    return bool(task and task.cancelling() and _own_task.get() != get_current_task().id)


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a group that is not the cancellation of the others.

    It keeps its cause; the other errors are in its notes.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    _, others = error.split(get_cancelled_exc_class())
    first, *more = (others or error).exceptions
    found = first_error(first)
    for other in map(first_error, more):
        found.add_note(f"beside it: {type(other).__name__}: {other}")
    return found
