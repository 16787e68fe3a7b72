"""Last writes: what became of a claim. They are made though their task is cancelled."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from anyio import CancelScope, current_time, get_cancelled_exc_class, move_on_after, sleep

from aftercommit.claims import Claim, DeliveryPolicy, Failure, Report
from aftercommit.errors import (
    ConcurrentUpdate,
    DeliverySuperseded,
    NotCompleted,
    TransientError,
    is_away,
)
from aftercommit.observers import CompositeObserver, Outcome
from aftercommit.ports import Outbox

FINAL_WRITE_TIMEOUT = 2  # seconds to store what became of a cancelled delivery
FINAL_WRITE_PAUSE = 0.5  # before it is tried again, if the database is away, or after a conflict

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LastWrites:
    """Stores and reports how claims end; what cannot be written in time is `unwritten`."""

    outbox: Outbox
    policy: DeliveryPolicy
    random: Callable[[], float]
    instrumentation: CompositeObserver

    async def settle(self, delivery: Claim, result: Report) -> Sequence[Claim]:
        """Mark a delivery as done; return the claim on the next one of its lane, if it has that.

        :raises Exception: if that is not possible
        """
        settle = partial(self.outbox.settle, delivery)
        alone = partial(settle, follow=False)
        return await self._persist(settle, [delivery], result, at_last=alone)

    async def release(
        self, claims: Collection[Claim], result: Report, *, interrupted: bool = False
    ) -> None:
        """Make claimed deliveries due now, if that is possible: leases also end by themselves."""
        for delivery in claims:
            self.instrumentation.finished(Outcome(delivery, "handed over"))
        release = partial(self.outbox.release, tuple(claims), interrupted=interrupted)
        try:
            if claims:
                await self._persist(release, claims, result)
        except Exception as error:
            logger.warning("claims could not be released, they end by themselves: %s", error)

    async def record_failure(self, delivery: Claim, error: Exception, result: Report) -> None:
        """Store and report that an attempt has failed, and when the next one follows."""
        pause = self.policy.retry_delay(delivery, error, random=self.random)
        failure = Failure(delivery=delivery, error=error, retry_in=pause)
        try:
            await self._persist(partial(self.outbox.record_failure, failure), [delivery], result)
        except DeliverySuperseded as superseded:
            self.lease_lost(delivery, f"{failure}; {superseded}")
            return
        except Exception as problem:  # the row is as it was: it falls due when the lease ends
            logger.error("the next failure could not be stored: %s", problem)
            failure = replace(failure, retry_in=(pause := self.policy.lease_seconds))
        fate = "parked" if pause is None else f"next attempt in {pause:.3g} s"
        logger.warning("%s; %s", failure, fate, exc_info=logger.isEnabledFor(logging.DEBUG))
        self.instrumentation.finished(Outcome(delivery, "parked" if pause is None else "retried"))
        result.failures.append(failure)

    def lease_lost(self, delivery: Claim, reason: object) -> None:
        """Report that another process has taken a delivery over."""
        logger.info("%s", reason)
        self.instrumentation.finished(Outcome(delivery, "lease lost"))

    async def _persist(
        self,
        store: Callable[[], Awaitable[T]],
        claims: Collection[Claim],
        result: Report,
        at_last: Callable[[], Awaitable[object]] | None = None,
    ) -> T:
        end = max(map(self.policy.lease_end, claims))
        try:
            return await persist_despite_cancellation(store, lease_end=end, at_last=at_last)
        except DeliverySuperseded:
            raise
        except Exception:
            names = tuple(each.idempotency_key for each in claims)
            result.unwritten.setdefault(names, at_last or store)  # unless others claim it first
            raise


async def persist_despite_cancellation(
    store: Callable[[], Awaitable[T]],
    *,
    lease_end: float,
    at_last: Callable[[], Awaitable[object]] | None = None,
) -> T:
    """Make a last write; if that is cancelled, once more, but not for ever.

    What is returned then is lost; so it may be another function, `at_last`.

    It waits in line until the lease ends; as long, it is tried again if the database is away, if
    somebody has locked the delivery, or if another transaction was faster.

    :raises NotCompleted: if it was not its turn by then
    :raises TransientError: if the database was away or did not answer in time, or the delivery was
        locked
    :raises ConcurrentUpdate: if another transaction was faster each time
    """
    longest = max(lease_end, current_time() + FINAL_WRITE_TIMEOUT)
    problems = list[Exception]()
    try:
        with CancelScope(deadline=longest):
            return await _until_stored(store, lease_end, problems)
    except get_cancelled_exc_class():
        try:
            with move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
                await _until_stored(at_last or store, current_time() + FINAL_WRITE_TIMEOUT, [])
        except Exception as error:  # in the place of the cancellation, it would be a failure
            logger.warning("the last write of a cancelled task failed: %s", error)
        raise
    raise problems[-1] if problems else NotCompleted()


async def _until_stored(
    store: Callable[[], Awaitable[T]], end: float, problems: list[Exception]
) -> T:
    """Make a write, again while that may help and there is time; add what was in the way."""
    while True:
        try:
            return await store()
        except (TransientError, ConcurrentUpdate) as error:
            problems.append(error)
            may_heal = isinstance(error, ConcurrentUpdate) or is_away(error)
            if not may_heal or current_time() + FINAL_WRITE_PAUSE >= end:
                raise
        await sleep(FINAL_WRITE_PAUSE)
