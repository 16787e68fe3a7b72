"""The page without a browser: viewers are tasks, which read only what the test asks them for."""

import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from anyio import Event, create_memory_object_stream, create_task_group, fail_after
from anyio.abc import ObjectReceiveStream

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.entrypoints.page.reader import Reader
from tests.integration.web.conftest import OPERATOR, Web, running_web

LIMIT_SECONDS = 60

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


def reader_of(web: Web) -> Reader:
    """Return the reader, which is there as soon as somebody has looked."""
    reader: Reader = web.app.state.reader
    return reader


class Viewer:
    """Somebody who looks. What was not asked for waits in the connection, which holds nothing."""

    def __init__(self, received: ObjectReceiveStream[Json]) -> None:
        self._received = received
        self.stories: dict[str, Json] = {}
        self.owed: Json = {"counts": [], "first": []}
        self.last_seen = ""

    async def next(self) -> Json:
        """Return the next event, and learn what it tells."""
        with fail_after(LIMIT_SECONDS):
            lines = (await self._received.receive())["body"].decode().splitlines()
        fields = dict(line.split(": ", 1) for line in lines if line)
        self.last_seen = fields.get("id", self.last_seen)
        news: Json = json.loads(fields["data"])
        self.stories |= {story["id"]: story for story in news["stories"]}
        self.owed = news.get("owed") or self.owed
        return news

    async def until(self, fact: Any) -> Json:
        """Read until something is so; return the event that told it."""
        with fail_after(LIMIT_SECONDS):
            while True:
                news = await self.next()
                if fact(news):
                    return news

    async def rest(self) -> Json:
        """Return the last message, without any event before it."""
        with fail_after(LIMIT_SECONDS):
            while (message := await self._received.receive())["body"]:
                pass
        return message


@asynccontextmanager
async def watching(web: Web, last_seen: str = "") -> AsyncIterator[Viewer]:
    """Look until the end of the context; then hang up."""
    gone = Event()
    messages: list[Json] = [{"type": "http.request", "body": b"", "more_body": False}]
    send, received = create_memory_object_stream[Json](0)

    async def receive() -> MutableMapping[str, Any]:
        if not messages:
            await gone.wait()
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def sent(message: MutableMapping[str, Any]) -> None:
        await send.send(dict(message))

    headers = {"host": "test", "last-event-id": last_seen, **OPERATOR}
    scope: Json = {
        "type": "http",
        "method": "GET",
        "path": "/page/stream",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    async with send, received, create_task_group() as group:
        group.start_soon(web.requests, scope, receive, sent)
        with fail_after(LIMIT_SECONDS):
            start = await received.receive()
        assert start["status"] == 200
        yield Viewer(received)
        gone.set()
