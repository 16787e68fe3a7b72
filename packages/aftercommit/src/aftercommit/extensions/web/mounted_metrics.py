"""The metrics within an application of others, whose guard decides who may read them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aftercommit.extensions.metrics.process_health import CONTENT_TYPE
from aftercommit.extensions.metrics.shared_metrics import SharedProbes, shared_directory
from aftercommit.extensions.opened_outbox import OpenedHere, OpenedOutbox
from aftercommit.extensions.web.mounted import OF_ALL, SAFE, Guard, Mounted, problem
from aftercommit.handler_containment import in_own_task
from aftercommit.process.app import App

READ_ONLY = "Metrics can only be read."


class MountedMetrics(Mounted):
    """The metrics as an ASGI application, which answers every path below its own.

    :raises InvalidValue: if processes are to count in a directory that does not exist
    """

    def __init__(self, app: App[Any], opened: OpenedHere, guard: Guard | None = None) -> None:
        super().__init__(app, opened, guard)
        if shared_directory():
            opened.settings["collect_metrics"] = True

    def answering(self, opened: OpenedOutbox, request: Request, who: str, path: str) -> ASGIApp:
        """Return the metrics."""
        if request.method not in SAFE:
            return problem(405, READ_ONLY)
        if "metrics" not in opened.made:
            probes = SharedProbes(opened.application, opened.stop)
            opened.group.start_soon(in_own_task, probes.look_until_stopped)
            opened.made["metrics"] = probes

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            text = await opened.made["metrics"].text()
            await Response(text, headers=OF_ALL, media_type=CONTENT_TYPE)(scope, receive, send)

        return answer
