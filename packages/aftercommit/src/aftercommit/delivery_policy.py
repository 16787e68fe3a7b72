"""How long an attempt may take, and when the next one follows. Pure: no I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aftercommit.claims import Claim
from aftercommit.errors import is_away, is_permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """The settings that decide about attempts."""

    dispatch: Literal["inline", "worker"]  # the lease of those who make the first attempts
    lease_seconds: float
    handler_timeout_seconds: float
    retry_initial_seconds: float
    retry_factor: float
    retry_max_seconds: float
    max_attempts: int

    @property
    def begin_seconds(self) -> float:
        """Return how late in its lease, in seconds, a handler without a transaction may begin.

        It then has all of its time, and a fifth of the rest of the lease remains to store the end.
        """
        return (self.lease_seconds - self.handler_timeout_seconds) * 4 / 5

    def retry_delay(
        self, claim: Claim, error: Exception, *, random: Callable[[], float]
    ) -> float | None:
        """Return the delay before the next attempt, or None if the delivery has to be parked.

        It grows exponentially up to a maximum; jitter draws it from its upper half, so that
        deliveries that failed together do not come back together ("equal jitter", AWS Architecture
        Blog, *Exponential Backoff And Jitter*). `random` draws from 0 to 1. An attempt that failed
        because a resource is unavailable makes the delay longer, but is not counted otherwise.
        """
        if is_permanent(error):
            return None
        if claim.attempt >= self.max_attempts and not is_away(error):
            return None
        earlier = claim.attempt - 1 + claim.unavailable_attempts
        exponent = min(earlier, 64)  # the maximum is reached long before a float overflows
        delay = self.retry_initial_seconds * self.retry_factor**exponent
        longest = min(self.retry_max_seconds, delay)
        return longest * (1 + random()) / 2
