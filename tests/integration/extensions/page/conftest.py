"""The page without a browser: viewers ask only when the test tells them to."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aftercommit.extensions.page.change_feed import ChangeFeed
from aftercommit.process.application import Application
from anyio import fail_after

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from tests.integration.extensions.web.conftest import Web, running_web

LIMIT_SECONDS = 180

Json = dict[str, Any]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """What requests cause is left to workers, which do not run: nothing happens by itself."""
    return replace(settings, dispatch="worker")


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application on each database."""
    async with running_web(settings) as web:
        yield web


@pytest.fixture
async def elsewhere(settings: Settings) -> AsyncIterator[Application]:
    """Another process on the same database."""
    async with bootstrap(settings) as application:
        yield application


def feed_of(web: Web) -> ChangeFeed:
    """Return the feed, which is there as soon as somebody has asked."""
    feed: ChangeFeed = web.app.state.change_feed
    return feed


class Viewer:
    """A browser that shows the page, and asks only when the test tells it to."""

    def __init__(self, web: Web, cursor: str = "") -> None:
        self._web = web
        self.cursor = cursor
        self.traces: dict[str, Json] = {}
        self.outstanding: Json = {"counts": [], "first": []}

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
            while True:
                news = await self.next()
                if fact(news):
                    return news
