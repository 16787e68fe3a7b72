"""Fixtures for the tests of an application's endpoints: a plugin of pytest.

    pytest -p aftercommit.extensions.web.fixtures

The conftest.py defines `app`, as `aftercommit.testing.fixtures` explains, and `settings` for a
database. Needs `aftercommit[web]` and httpx.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from aftercommit.extensions.web.settings import WebSettings
from aftercommit.extensions.web.testing import http_client
from aftercommit.process.app import App
from aftercommit.settings import EngineSettings

TOKEN = "the-token-of-the-operator"


@pytest.fixture
async def client(app: App[Any], settings: EngineSettings) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token. What a request causes is left to workers."""
    web = WebSettings(operator_token=TOKEN)
    of_extensions = (web, *settings.of_extensions)  # the first of a class counts
    settings = replace(settings, dispatch="worker", of_extensions=of_extensions)
    async with (
        app.open(settings) as application,
        http_client(app, settings, application) as client,
    ):
        yield client


@pytest.fixture
def operator() -> dict[str, str]:
    """The headers of an operator's request."""
    return {"Authorization": f"Bearer {TOKEN}"}
