"""Which message the current task works on. Set by the bus, read by the log formatter."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from allocation.service_layer.delivery import MessageContext

current_context: ContextVar[MessageContext | None] = ContextVar("current_context", default=None)


@contextmanager
def working_on(context: MessageContext) -> Iterator[None]:
    """Mark everything logged inside as caused by `context`."""
    token = current_context.set(context)
    try:
        yield
    finally:
        current_context.reset(token)
