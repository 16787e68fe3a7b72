"""Requests to an application over HTTP without a server: they are function calls.

Needs `aftercommit[web]` and httpx.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from anyio import create_task_group

from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.dispatch_after_response import DispatchAfterResponse
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.settings import EngineSettings


@asynccontextmanager
async def http_client(
    app: App[Any], settings: EngineSettings, application: Application
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client without a token; at the end, wait for everything its requests have caused.

    The operator's token is that of the `WebSettings` in the settings. Endpoints about the process
    itself, such as `/readyz`, do not work. HTTP is served on asyncio only.
    """
    web = web_application(app, settings.of(WebSettings))
    web.state.application = application
    async with create_task_group() as group:
        dispatch = BoundedDispatch(application.bus, settings.max_dispatches)
        transport = httpx.ASGITransport(DispatchAfterResponse(web, group, dispatch))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
