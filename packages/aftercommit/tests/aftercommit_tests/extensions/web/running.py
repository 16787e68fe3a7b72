"""Runs an application over HTTP without a server: requests are calls."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from aftercommit import App, Application, Database, EngineSettings, Observer
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.process.running_services import Shutdown
from anyio import create_task_group
from fastapi import FastAPI
from sqlalchemy import Row, Table, select

from aftercommit_tests.inside.metrics import Probes
from aftercommit_tests.inside.settings import MetricsSettings
from aftercommit_tests.inside.web import BoundedDispatch, DispatchAfterResponse, web_application

TOKEN = "t0ken-of-the-operator"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Web:
    """An application over HTTP, and who calls it."""

    app: FastAPI
    client: httpx.AsyncClient
    application: Application
    stop: Shutdown
    probes: Probes

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask as the operator."""
        return await self.client.get(path, headers=OPERATOR | headers)

    async def make_thing(self, key: str | None = None, **more: Any) -> httpx.Response:
        """Make a thing, under a key if there is one."""
        headers = more.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        return await self.client.post("/things", json={"name": "lamp", **more}, headers=headers)


@asynccontextmanager
async def running_web(
    app: App[Any],
    settings: EngineSettings,
    observers: Sequence[Observer] = (),
    *,
    kind: type[Web] = Web,
) -> AsyncIterator[Any]:
    """Run an application over HTTP; at the end, wait for what requests have caused."""
    of_web = replace(settings.of(WebSettings), operator_token=TOKEN)
    collecting = MetricsSettings(collect_metrics=True)
    settings = replace(settings, of_extensions=(of_web, collecting))
    async with app.open(settings, observers=observers) as application:
        web, stop = web_application(app, of_web), Shutdown()
        async with create_task_group() as group:
            probes = Probes(application, stop, collecting.readiness_max_lag_seconds)
            web.state.application, web.state.probes = application, probes
            dispatch = BoundedDispatch(application.bus, settings.max_dispatches)
            transport = httpx.ASGITransport(DispatchAfterResponse(web, group, dispatch))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                yield kind(web, client, application, stop, probes)
            stop.set()  # or what goes on until then would let a test that fails hang


async def stored(database: Database, table: Table) -> Sequence[Row[Any]]:
    """Return the rows of a table."""
    async with database.read_transaction() as transaction:
        return (await transaction.execute(select(table))).all()
