"""The time that an attempt may take: to wait for its transaction, and then to run."""

from collections.abc import Awaitable
from math import inf
from typing import Self, TypeVar

from anyio import CancelScope, current_time

from aftercommit.claims import Claim, CommandWork, DeliveryPolicy
from aftercommit.error_boundary import contain_errors
from aftercommit.errors import HandlerTimeout, LeaseExpired, NotBegun

T = TypeVar("T")


class TimeLimit:
    """The limits of one attempt, or of one command; its runs after conflicts share them.

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
        not_begun: Exception,
    ) -> None:
        self._handler, self._seconds, self._not_begun = handler, seconds, not_begun
        self._begin_by, self._end_by = begin_by, end_by
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
        late, seconds = LeaseExpired(delivery.handler), policy.handler_timeout_seconds
        return cls(delivery.handler, seconds, begin_by=latest, end_by=end, not_begun=late)

    @classmethod
    def of_command(cls, envelope: CommandWork, policy: DeliveryPolicy, handler: str) -> Self:
        """Return the limits of a command; a reply may be stored until the lease ends."""
        seconds, late = policy.handler_timeout_seconds, NotBegun(envelope.name)
        if asked := envelope.settles:
            end = policy.lease_end(asked)
            return cls(handler, seconds, begin_by=end, end_by=end, not_begun=late)
        return cls(handler, seconds, begin_by=current_time() + seconds, not_begun=late)

    @property
    def seconds_left(self) -> float:
        """The seconds that it may take from now on, at most."""
        return min(self._begin_by + self._seconds, self._end_by) - current_time()

    async def keep(self, work: Awaitable[T]) -> T:
        """Return what this returns within the limits.

        :raises HandlerTimeout: if the handler had its time, and has not ended
        """
        with self._scope, contain_errors(self._handler):  # also if it has cancelled what follows
            return await work
        if self._waits or self._is_short:
            raise self._not_begun
        raise HandlerTimeout(self._handler, self._seconds)

    def wait(self) -> None:
        """Note that one more run waits for its transaction."""
        self._waits = True

    def begin(self) -> None:
        """Start the handler's time, once: now it has what it needs."""
        self._waits = False
        if self.has_begun:
            return
        now, self.has_begun = current_time(), True
        if now >= self._begin_by:
            raise self._not_begun
        self._is_short = self._end_by < now + self._seconds
        self._scope.deadline = min(now + self._seconds, self._end_by)
