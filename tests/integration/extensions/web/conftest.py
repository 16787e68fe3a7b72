"""The HTTP application on each database, without a server: requests are calls."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.metrics.process_health import Probes
from aftercommit.extensions.metrics.settings import MetricsSettings
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.dispatch_after_response import DispatchAfterResponse
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.observers import Observer
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from anyio import create_task_group
from fastapi import FastAPI

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.entrypoints.allocation import Allocation
from allocation.extension_list import EXTENSIONS
from tests.web import OPERATOR, TOKEN


@dataclass
class Web:
    """The HTTP application, and who calls it."""

    app: FastAPI
    client: httpx.AsyncClient
    application: Application
    stop: Shutdown
    probes: Probes

    async def register_user(
        self, key: str | None = None, *, email: str = "ivan@example.com", **more: Any
    ) -> httpx.Response:
        """Register a user, under a key if there is one."""
        headers = more.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        registration = {"name": "Иван", "email": email, **more}
        return await self.client.post("/users", json=registration, headers=headers)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask as the operator."""
        return await self.client.get(path, headers=OPERATOR | headers)


@asynccontextmanager
async def running_web(
    settings: Settings, observers: Sequence[Observer] = (), described: type[Allocation] = Allocation
) -> AsyncIterator[Web]:
    """Run the HTTP application; at the end, wait for what requests have caused."""
    of_web = replace(settings.of(WebSettings), operator_token=TOKEN)
    collecting = MetricsSettings(collect_metrics=True)
    settings = replace(settings, of_extensions=(of_web, collecting))
    async with bootstrap(settings, observers=observers) as application:
        app, stop = web_application(described(), of_web, EXTENSIONS), Shutdown()
        async with create_task_group() as group:
            probes = Probes(application, stop, collecting.readiness_max_lag_seconds)
            app.state.application, app.state.probes = application, probes
            dispatch = BoundedDispatch(application.bus, settings.max_dispatches)
            transport = httpx.ASGITransport(DispatchAfterResponse(app, group, dispatch))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                yield Web(app, client, application, stop, probes)


@pytest.fixture
def anyio_backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application on each database."""
    async with running_web(settings) as web:
        yield web
