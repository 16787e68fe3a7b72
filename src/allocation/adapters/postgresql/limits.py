"""How long the server may keep us waiting. Used by this room only."""

from dataclasses import dataclass

LONGEST = 2_000_000.0  # PostgreSQL counts milliseconds in 31 bits
ANSWER_SECONDS = 5.0  # by then, an answer that the server has sent in time has arrived


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, all derived from how long a handler may take: nothing waits longer on its behalf.

    The server keeps the first four, so that what a process leaves behind ends without it; the
    process keeps the others, so that it does not need the server's answer to go on.
    """

    handler_timeout: float = 20.0

    @property
    def statement(self) -> float:
        """How long one statement may take."""
        return min(max(self.handler_timeout, 1.0), LONGEST)

    @property
    def lock(self) -> float:
        """How long it may wait for a lock."""
        return self.statement / 2

    @property
    def idle(self) -> float:
        """How long a transaction may lie idle: its process is frozen, or has vanished."""
        return self.statement

    @property
    def silence(self) -> float:
        """How long a client may leave the server's probes unanswered."""
        return max(self.statement, 4.0)

    @property
    def answer(self) -> float:
        """How long the driver may take for one call."""
        return self.statement + ANSWER_SECONDS

    @property
    def connect(self) -> float:
        """How long connecting may take."""
        return min(max(self.statement, 2.0), 5.0)  # libpq knows none that is shorter than 2

    @property
    def ping(self) -> float:
        """How long a connection that was idle may take to show that it lives."""
        return min(self.statement, 5.0)
