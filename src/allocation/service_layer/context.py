"""Which message the current task works on. Set by the bus, read by the log formatter."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from allocation.service_layer.delivery import Cause

current_cause: ContextVar[Cause | None] = ContextVar("current_cause", default=None)


@contextmanager
def working_on(cause: Cause) -> Iterator[None]:
    """Mark everything logged inside as caused by `cause`."""
    token = current_cause.set(cause)
    try:
        yield
    finally:
        current_cause.reset(token)
