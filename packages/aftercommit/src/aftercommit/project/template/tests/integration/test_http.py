"""The endpoints, as clients call them."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from aftercommit import testing

from shop.entrypoints.app import APP

pytestmark = pytest.mark.anyio
ORDER = {"email": "ivan@example.com", "articles": {"lamp": 2}}
Headers = dict[str, str]


async def test_an_order_is_placed_shown_and_cancelled(
    client: httpx.AsyncClient, operator: Headers
) -> None:
    """Everybody may place an order; only the operator may see and cancel it."""
    placed = await client.post("/orders", json=ORDER)
    path = placed.headers["location"]

    assert placed.status_code == 201
    assert (await client.delete(path, headers=operator)).status_code == 204
    assert (await client.get(path, headers=operator)).json() == {
        **placed.json(),
        "email": "ivan@example.com",
        "is_cancelled": True,
        "pieces": 2,
    }


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"articles": {"lamp": 101}}, 409),
        *(({"articles": {"lamp": pieces}}, 422) for pieces in (0, True, "2", 2.0)),
        ({"articles": {}}, 422),
        ({"articles": {"lamp": int("9" * 4000)}}, 422),
        ({"email": "Иван"}, 422),
        ({"email": "a" * 255 + "@example.com"}, 422),
        ({"email": "ivan@=?utf-8?q?example.com=0D=0ABcc=3A_eve=40example.com?=.com"}, 422),
        ({"unknown": 1}, 422),
    ],
)
async def test_what_cannot_be_ordered_is_refused(
    client: httpx.AsyncClient, change: dict[str, object], status: int
) -> None:
    """The response says what is wrong."""
    refused = await client.post("/orders", json=ORDER | change)

    assert (refused.status_code, refused.headers["content-type"]) == (
        status,
        "application/problem+json",
    )


async def test_an_id_of_another_order_is_a_conflict(client: httpx.AsyncClient) -> None:
    """The sender has to know that nothing was stored."""
    order = ORDER | {"order_id": str(uuid4())}
    statuses = [
        (await client.post("/orders", json=order | change)).status_code
        for change in ({}, {}, {"email": "olga@example.com"}, {"articles": {"lamp": 3}})
    ]

    assert statuses == [201, 201, 409, 409]


@pytest.mark.parametrize("text", ["a\\ud800@example.com", "a\\u0000@example.com", "(a)" * 20_000])
async def test_a_text_that_harms_is_refused(client: httpx.AsyncClient, text: str) -> None:
    """Anybody may send it."""
    content = f'{{"email": "{text}@example.com", "articles": {{"lamp": 1}}}}'
    json = {"Content-Type": "application/json"}

    assert (await client.post("/orders", content=content, headers=json)).status_code == 422


async def test_only_the_operator_sees_orders(client: httpx.AsyncClient, operator: Headers) -> None:
    """They contain addresses."""
    path = f"/orders/{uuid4()}"

    assert (await client.get(path)).status_code == 401
    assert (await client.get(path, headers=operator)).status_code == 404


def test_anybody_may_call_what_is_listed_and_nothing_else() -> None:
    """An endpoint that was given to the wrong router would be open to the world."""
    golden = Path(__file__).parents[1] / "golden"
    testing.check_public_routes(APP, golden / "public_routes.txt")
