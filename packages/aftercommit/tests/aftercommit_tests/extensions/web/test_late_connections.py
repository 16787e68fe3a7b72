"""Stopping while somebody connects."""

import socket
import time
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from aftercommit.process.running_services import Shutdown
from fastapi import FastAPI

from aftercommit_tests.extensions.web.running import Web
from aftercommit_tests.inside.web import TICK_SECONDS, web_service
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.things.app import Settings

pytestmark = pytest.mark.anyio


async def test_who_connects_in_the_moment_of_stopping_does_not_hold_it_up(
    web: Web, settings: Settings
) -> None:
    """A process without a processor accepts it and stops in the same turn of its event loop."""
    urls, stop = list[str](), Shutdown()

    def announce(app: FastAPI, url: str, token: str | None) -> None:
        urls.append(url)

    service = web_service(settings, web.app, announce=announce)
    with anyio.fail_after(LIMIT_SECONDS), socket.socket() as late:
        late.setblocking(False)
        async with anyio.create_task_group() as group:
            group.start_soon(service, web.application, stop)
            await anyio.wait_all_tasks_blocked()
            async with httpx.AsyncClient(base_url=urls[0]) as client:
                assert (await client.get("/healthz")).status_code == 200
            stop.set()
            await anyio.wait_all_tasks_blocked()
            late.connect_ex(("127.0.0.1", urlsplit(urls[0]).port))
            due = time.monotonic() + 2 * TICK_SECONDS
            while time.monotonic() < due:
                pass  # nothing else runs meanwhile
