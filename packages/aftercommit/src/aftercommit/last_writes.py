"""Last writes: what became of a claim. They are made though their task is cancelled."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from anyio import CancelScope, current_time, get_cancelled_exc_class, move_on_after, sleep

from aftercommit.claims import Claim, DeliveryPolicy, Failure, Report
from aftercommit.errors import DeliverySuperseded, NotCompleted, TransientError, is_away
from aftercommit.ports import Outbox

FINAL_WRITE_TIMEOUT = 2  # seconds to store what became of a cancelled delivery
FINAL_WRITE_PAUSE = 0.5  # before it is tried again, if the database is away

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LastWrites:
    """Writes to the outbox; what cannot be written in time is `unwritten` in the report."""

    outbox: Outbox
    policy: DeliveryPolicy

    async def release(self, claims: Collection[Claim], result: Report, interrupted: bool) -> None:
        """Release claims, if that is possible: their leases also end by themselves."""
        release = partial(self.outbox.release, tuple(claims), interrupted=interrupted)
        try:
            if claims:
                end = max(map(self.policy.lease_end, claims))
                await persist_despite_cancellation(release, lease_end=end)
        except Exception as error:
            logger.warning("claims could not be released, they end by themselves: %s", error)
            result.unwritten.append(release)

    async def settle(self, delivery: Claim, result: Report) -> Sequence[Claim]:
        """Mark a delivery as done; return the claim on the next one of its lane, if it has that.

        :raises Exception: if that is not possible
        """
        settle, end = partial(self.outbox.settle, delivery), self.policy.lease_end(delivery)
        alone = partial(settle, follow=False)
        try:
            return await persist_despite_cancellation(settle, lease_end=end, at_last=alone)
        except Exception:
            result.unwritten.append(alone)  # done is done, if nobody has it done again before
            raise

    async def record_failure(self, failure: Failure, result: Report) -> bool:
        """Store a failure, and tell whether it is stored: otherwise the lease ends by itself.

        :raises DeliverySuperseded: if the delivery has another owner now, or is done
        """
        end = self.policy.lease_end(failure.delivery)
        store = partial(self.outbox.record_failure, failure)
        try:
            await persist_despite_cancellation(store, lease_end=end)
        except DeliverySuperseded:
            raise
        except Exception as error:
            logger.error("the next failure could not be stored: %s", error)
            result.unwritten.append(store)
            return False
        return True


async def persist_despite_cancellation(
    store: Callable[[], Awaitable[T]],
    *,
    lease_end: float,
    at_last: Callable[[], Awaitable[T]] | None = None,
) -> T:
    """Make the last write about a delivery; if that is cancelled, once more, but not for ever.

    What is returned then is lost; so it may be another function.

    It waits in line until the lease ends; as long, it is tried again if the database is away.

    :raises NotCompleted: if it was not its turn by then
    :raises TransientError: if the database was away, or did not answer in time
    """
    longest = max(lease_end, current_time() + FINAL_WRITE_TIMEOUT)
    problem: TransientError = NotCompleted()
    try:
        with CancelScope(deadline=longest):
            while True:
                try:
                    return await store()
                except TransientError as error:
                    problem = error
                    if not is_away(error) or current_time() + FINAL_WRITE_PAUSE >= lease_end:
                        break
                await sleep(FINAL_WRITE_PAUSE)
    except get_cancelled_exc_class():
        with move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
            await (at_last or store)()
        raise
    raise problem
