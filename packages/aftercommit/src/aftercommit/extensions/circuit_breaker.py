"""A circuit breaker: nobody waits for a resource that is known to be down.

After an outage, attempts fail immediately for as long as it took to notice, at least a second; then
one attempt tries the resource before the others. Any extension may import this. Source: Michael
Nygard, *Release It!*, "Circuit Breaker".
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anyio import current_time

from aftercommit.errors import Unavailable

PAUSE_SECONDS = 1


class CircuitBreaker:
    """The breaker of one resource; `unavailable` makes the error for a refused attempt."""

    def __init__(
        self, unavailable: Callable[[str], Unavailable], *, outages: tuple[type[Exception], ...]
    ) -> None:
        self._unavailable, self._outages = unavailable, outages
        self._reason: str | None = None  # of the outage, until an attempt succeeds
        self._open_until = 0.0  # event loop's clock
        self._attempts = 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Use the resource in this block; one of the `outages`, raised in it, opens the breaker.

        :raises Unavailable: if the breaker is open, or another attempt is trying the resource
        """
        if self._reason and (current_time() < self._open_until or self._attempts):
            raise self._unavailable(f"{self._reason}; it will be tried again soon")
        started = current_time()
        self._attempts += 1
        try:
            yield
        except self._outages as error:
            self._reason = getattr(error, "reason", None) or str(error)
            self._open_until = current_time() + max(PAUSE_SECONDS, current_time() - started)
            raise
        except Exception:
            self._reason = None  # the resource has answered
            raise
        else:
            self._reason = None
        finally:
            self._attempts -= 1
