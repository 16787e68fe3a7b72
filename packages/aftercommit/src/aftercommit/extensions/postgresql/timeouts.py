"""How long PostgreSQL may keep us waiting, derived from how long a handler may take."""

LONGEST = 2_000_000.0  # PostgreSQL counts milliseconds in 31 bits
RESPONSE_SECONDS = 5.0  # by then, an answer that the server sent in time has arrived
AFTER_SECONDS = 1.0  # longer than a handler may take, whose limit has a better message
FINAL_SECONDS = 2.0  # how long a call may still take when everything is cancelled


class Timeouts:
    """Time limits in seconds. Nothing waits much longer for a handler than the handler may take.

    The server enforces the first four, so that whatever a process leaves behind ends without it;
    the process enforces the others, so that it can go on without an answer.
    """

    def __init__(self, handler_timeout: float) -> None:
        limit = min(max(handler_timeout, 1.0), LONGEST)
        self.statement = limit + AFTER_SECONDS
        self.lock = limit / 2
        self.idle_in_transaction = self.statement  # its process is frozen, or has vanished
        self.keepalive = max(limit, 4.0)  # for the answer to probes of the connection
        self.response = limit + RESPONSE_SECONDS  # for one call of the driver
        self.connect = min(max(limit, 2.0), 5.0)  # libpq knows none that is shorter than 2
        self.ping = min(limit, 5.0)  # for a connection that was idle
