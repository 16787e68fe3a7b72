"""The life of a request: answered, and then what its command has caused is dispatched here.

Each is a task of the application, not of the server: what it has begun outlives its connection,
and ends with the grace period of the process like all other work.
"""

import logging
from collections.abc import Sequence
from typing import Any

from anyio import Event
from anyio.abc import TaskGroup
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from allocation.entrypoints.web.exchanges import begun
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.messagebus import MessageBus

logger = logging.getLogger(__name__)


class Requests:
    """Answers requests. Of what they cause, up to `trees` are handed on at a time, as consumers do.

    The rest is left to workers; so is what cannot be done before the process has to end.
    """

    def __init__(self, app: ASGIApp, group: TaskGroup, bus: MessageBus, *, trees: int) -> None:
        self._app, self._group, self._bus = app, group, bus
        self._trees = trees
        self._dispatching = 0
        self._has_left_some = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; return when it is answered."""
        if scope["type"] != "http":
            await _OTHERS[scope["type"]](receive, send)
            return
        answered = Event()
        self._group.start_soon(self._answer, scope, receive, send, answered)
        await answered.wait()

    async def _answer(self, scope: Scope, receive: Receive, send: Send, answered: Event) -> None:
        exchange = begun(Headers(scope=scope))
        state: dict[str, Any] = {"exchange": exchange}
        state["group"] = self._group  # for what outlives a request  # room: page
        try:
            await self._app({**scope, "state": state}, receive, send)
        except Exception:
            logger.exception("an answer was cut off")
        finally:
            answered.set()
            if exchange.caused:
                await self._hand_on(exchange.caused)

    async def _hand_on(self, events: Sequence[Envelope]) -> None:
        if self._dispatching >= self._trees:
            await self._leave(events)
            return
        self._dispatching += 1
        try:
            await self._bus.dispatch(events)
        finally:
            self._dispatching -= 1

    async def _leave(self, events: Sequence[Envelope]) -> None:
        if not self._has_left_some:
            logger.info("more comes in than can be dispatched here: some is left to workers")
        self._has_left_some = True
        await self._bus.leave(events)


async def _live(receive: Receive, send: Send) -> None:
    """Tell a server that asks that all is open: bootstrap opens and closes it."""
    for _ in ("startup", "shutdown"):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def _refuse(receive: Receive, send: Send) -> None:
    """Refuse a WebSocket, with 403."""
    await receive()
    await send({"type": "websocket.close"})


_OTHERS = {"lifespan": _live, "websocket": _refuse}
