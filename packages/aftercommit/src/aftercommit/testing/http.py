"""The HTTP application of a service without a server: requests are calls. It needs httpx."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
from anyio import create_task_group

from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.dispatch_after_response import DispatchAfterResponse
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.app import App
from aftercommit.process.runtime import Shutdown
from aftercommit.settings import EngineSettings

TOKEN = "the-token-of-the-operator"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
"""The header of requests to guarded endpoints."""


@asynccontextmanager
async def serving(app: App[Any], settings: EngineSettings) -> AsyncIterator[httpx.AsyncClient]:
    """Open the application, and yield a client; at the end, wait for what requests have caused."""
    of_web, collecting = replace(settings.of(WebSettings), operator_token=TOKEN), MetricsSettings()
    settings = replace(settings, of_extensions=(of_web, collecting))
    async with app.open(settings) as application, create_task_group() as group:
        web = web_application(app, of_web, app.extensions)
        lag = collecting.readiness_max_lag_seconds
        web.state.application = application
        web.state.probes = Probes(application, Shutdown(), lag)
        dispatch = BoundedDispatch(application.bus, settings.max_dispatches)
        transport = httpx.ASGITransport(DispatchAfterResponse(web, group, dispatch))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
