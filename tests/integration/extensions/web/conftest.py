"""The application over HTTP on each database, run as in the engine's tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from aftercommit.observers import Observer
from aftercommit_tests.extensions.web import running
from aftercommit_tests.extensions.web.conftest import anyio_backend

from allocation.config import Settings
from allocation.entrypoints.allocation import Allocation

__all__ = ["Web", "anyio_backend", "running_web", "web"]


class Web(running.Web):
    """The HTTP application, and who calls it."""

    async def register_user(
        self, key: str | None = None, *, email: str = "ivan@example.com", **more: Any
    ) -> httpx.Response:
        """Register a user, under a key if there is one."""
        headers = more.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        registration = {"name": "Иван", "email": email, **more}
        return await self.client.post("/users", json=registration, headers=headers)


def running_web(
    settings: Settings, observers: Sequence[Observer] = ()
) -> AbstractAsyncContextManager[Web]:
    """Run the HTTP application; at the end, wait for what requests have caused."""
    return running.running_web(Allocation(), settings, observers, kind=Web)


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application on each database."""
    async with running_web(settings) as web:
        yield web
