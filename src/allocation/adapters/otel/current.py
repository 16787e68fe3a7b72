"""The trace context of the span in which the current task works, if it works in one."""

from contextvars import ContextVar

from allocation.service_layer.envelopes import MessageContext

current: ContextVar[str | None] = ContextVar("current_traceparent", default=None)
"""Set by the spans, as the header `traceparent` of W3C Trace Context."""


def traceparent(context: MessageContext) -> str | None:
    """Return what an event that is committed now carries; without a span, what its cause has."""
    return current.get() or context.traceparent
