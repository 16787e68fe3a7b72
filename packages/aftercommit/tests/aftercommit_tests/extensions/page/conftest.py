"""The page without a browser: viewers ask only when the test tells them to."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aftercommit import Application
from anyio import fail_after

from aftercommit_tests.extensions.web.conftest import anyio_backend, web
from aftercommit_tests.extensions.web.running import Web
from aftercommit_tests.things.app import Settings, bootstrap

__all__ = ["anyio_backend", "web"]

LIMIT_SECONDS = 180

Json = dict[str, Any]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """What requests cause is left to workers, which do not run: nothing happens by itself."""
    return replace(settings, dispatch="worker")


@pytest.fixture
async def elsewhere(settings: Settings) -> AsyncIterator[Application]:
    """Another process on the same database."""
    async with bootstrap(settings) as application:
        yield application


class Viewer:
    """A browser that shows the page, and asks only when the test tells it to."""

    def __init__(self, web: Web, cursor: str = "") -> None:
        self._web = web
        self.cursor = cursor
        self.traces: dict[str, Json] = {}
        self.outstanding: Json = {"counts": [], "first": []}

    @property
    def trace(self) -> Json:
        """The only trace that there is."""
        [trace] = self.traces.values()
        return trace

    async def next(self) -> Json:
        """Ask for what is new; return the answer."""
        with fail_after(LIMIT_SECONDS):
            answer = await self._web.get(f"/page/changes?after={self.cursor}")
        assert answer.status_code == 200
        news: Json = answer.json()
        self.cursor = news["cursor"]
        self.traces |= {trace["id"]: trace for trace in news["traces"]}
        self.outstanding = news.get("outstanding") or self.outstanding
        return news

    async def until(self, fact: Any) -> Json:
        """Ask until something is so; return the answer that said it."""
        with fail_after(LIMIT_SECONDS):
            while not fact(news := await self.next()):
                pass
        return news

    async def until_there_are(self, traces: int) -> Json:
        """Ask until so many traces have been sent."""
        return await self.until(lambda _: len(self.traces) == traces)
