"""The HTTP application on each database, without a server: requests are calls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from anyio import create_task_group
from fastapi import FastAPI

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.entrypoints.metrics.serving import Probes
from allocation.entrypoints.metrics.settings import MetricsSettings
from allocation.entrypoints.running import StopSignal
from allocation.entrypoints.web.application import connect, web_application
from allocation.entrypoints.web.requests import Requests
from allocation.entrypoints.web.settings import WebSettings
from allocation.service_layer.facts import Observers

TOKEN = "t0ken-of-the-operator"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Web:
    """The HTTP application, and who calls it."""

    app: FastAPI
    client: httpx.AsyncClient
    application: Application
    stop: StopSignal
    requests: Requests

    async def register(
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
async def running_web(settings: Settings, observers: Observers = ()) -> AsyncIterator[Web]:
    """Run the HTTP application; at the end, wait for what requests have caused."""
    of_web = settings.of(WebSettings)
    async with bootstrap(settings, observers=observers) as application:
        app, stop = web_application(of_web), StopSignal()
        async with create_task_group() as group:
            probes = Probes(settings.of(MetricsSettings), application, stop, group)
            connect(app, application, probes, TOKEN)
            requests = Requests(app, group, application.bus, trees=settings.concurrency)
            transport = httpx.ASGITransport(requests)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield Web(app, client, application, stop, requests)


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application on each database."""
    async with running_web(settings) as web:
        yield web
