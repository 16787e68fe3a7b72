"""The endpoints, asked as others ask them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.extensions.web.testing import http_client

from shop.bootstrap import bootstrap
from shop.config import Settings
from shop.entrypoints.app import APP

pytestmark = pytest.mark.anyio
TOKEN = "the-token-of-the-operator"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
ORDER = {"email": "ivan@example.com", "articles": {"lamp": 2}}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Who asks."""
    web = WebSettings(operator_token=TOKEN)
    settings = replace(settings, dispatch="worker", of_extensions=(web,))
    async with bootstrap(APP, settings) as application:
        async with http_client(APP, settings, application) as client:
            yield client


async def test_an_order_is_placed_shown_and_cancelled(client: httpx.AsyncClient) -> None:
    """By anybody, and by the operator."""
    placed = await client.post("/orders", json=ORDER)
    path = f"/orders/{placed.json()}"

    assert placed.status_code == 201
    assert (await client.delete(path, headers=OPERATOR)).status_code == 204
    assert (await client.get(path, headers=OPERATOR)).json() == {
        "order_id": placed.json(),
        "email": "ivan@example.com",
        "is_cancelled": True,
        "pieces": 2,
    }


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"articles": {"lamp": 101}}, 409),
        ({"articles": {"lamp": 0}}, 422),
        ({"articles": {}}, 422),
        ({"email": "Иван"}, 422),
        ({"unknown": 1}, 422),
    ],
)
async def test_what_cannot_be_ordered_is_refused(
    client: httpx.AsyncClient, change: dict[str, object], status: int
) -> None:
    """The answer says what is wrong."""
    refused = await client.post("/orders", json=ORDER | change)

    assert (refused.status_code, refused.headers["content-type"]) == (
        status,
        "application/problem+json",
    )


async def test_only_the_operator_sees_orders(client: httpx.AsyncClient) -> None:
    """They have addresses in them."""
    path = f"/orders/{uuid4()}"

    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=OPERATOR)).status_code == 404
