"""Dispatches what the command of a request has committed, after the response.

Each request is a task of the application, not of the server: its work outlives its connection, and
ends with the process's grace period like all other work.
"""

import logging

from anyio import Event
from anyio.abc import TaskGroup
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercommit.envelopes import MessageContext, current_context
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.web.request_context import REQUEST_ID, RequestContext, context_of
from aftercommit.handler_containment import in_own_task

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

MOUNTED = "aftercommit.state"  # in a scope: what is known of a request to a mounted application

logger = logging.getLogger(__name__)


class DispatchAfterResponse:
    """Answers requests, and dispatches what they have committed, up to a limit.

    What cannot be done before the process has to end is left to workers. Every response gets the
    common headers, and a line in the log.
    """

    def __init__(self, app: ASGIApp, group: TaskGroup, dispatch: BoundedDispatch) -> None:
        self._app, self._group, self._dispatch = app, group, dispatch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; return when the response is sent."""
        answered = Event()
        self._group.start_soon(in_own_task, self._answer, scope, receive, send, answered)
        await answered.wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send, answered: Event) -> None:
        context = context_of(Headers(scope=scope))
        id_ = context.correlation_id
        # HEAD is GET (RFC 9110, 9.3.2): the server omits the body
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        state = {**scope.get(MOUNTED, {}), "context": context, "group": self._group}
        inner = {**scope, "method": method, "state": state}

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _complete(headers, context)
                if message["status"] == 413:
                    headers["Connection"] = "close"  # the rest of the body is not read
                logger.info("%s %r: %d", scope["method"], scope["path"], message["status"])
            await send(message)

        token = current_context.set(MessageContext(correlation_id=id_, causation_id=id_))
        try:
            try:
                await self._app(inner, receive, send_completed)
            finally:
                current_context.reset(token)
        except Exception:
            logger.exception("a request failed")
        finally:
            answered.set()
            if context.committed.claims:
                await self._dispatch.dispatch(context.committed)


def _complete(headers: MutableHeaders, context: RequestContext) -> None:
    headers[REQUEST_ID] = str(context.correlation_id)
    for name, value in SECURITY.items():
        headers.setdefault(name, value)
    # a file of the documentation may be cached if the browser asks whether it has changed
    headers.setdefault("Cache-Control", "no-cache" if "etag" in headers else "no-store")
