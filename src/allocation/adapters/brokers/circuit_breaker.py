"""Leaves what has failed alone for a while, so that nobody waits for it who has other work to do.

Source: Michael Nygard, *Release It!*, "Circuit Breaker". The simplest one that helps: after a
failure everybody fails at once, for as long as it took to find out, or a second; then the next
caller tries.
"""

from anyio import current_time

PAUSE_SECONDS = 1


class CircuitBreaker:
    """Remembers the last failure of one resource."""

    def __init__(self) -> None:
        self._failure: Exception | None = None
        self._open_until = 0.0

    @property
    def failure(self) -> Exception | None:
        """The error to fail with at once; None when it is time to try."""
        return self._failure if current_time() < self._open_until else None

    def trip(self, error: Exception, *, started: float) -> None:
        """Remember a failure of a try that began at `started`, by the event loop's clock."""
        now = current_time()
        self._failure = error
        self._open_until = now + max(PAUSE_SECONDS, now - started)
