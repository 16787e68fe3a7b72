"""The API over HTTP, on each database: each request once, however often it is asked for.

The requests are calls: there is no server. A real one, and what its document says of its answers:
`tests/e2e/test_flow.py`.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from aftercommit import Application, testing
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.extensions.web.testing import http_client

from allocation.config import Settings
from allocation.entrypoints.app import APP
from tests.looking import code_of

pytestmark = pytest.mark.anyio

TOKEN = "t0ken-of-the-operator"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}
BATCH = {"reference": "WELCOME", "quantity": 10}

Client = httpx.AsyncClient


@pytest.fixture
def anyio_backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture
def web_settings(each_settings: Settings) -> Settings:
    """Settings with the token of the operator."""
    return replace(each_settings, of_extensions=(WebSettings(operator_token=TOKEN),))


@pytest.fixture
async def client(web_settings: Settings, each_app: Application) -> AsyncIterator[Client]:
    """A client of the API."""
    async with http_client(APP, web_settings, each_app) as client:
        yield client


async def register(client: Client, *, email: str = "ivan@example.com") -> httpx.Response:
    return await client.post("/users", json={"name": "Иван", "email": email})


async def change_email(client: Client, user: str, email: str) -> httpx.Response:
    return await client.put(f"{user}/email", json={"email": email}, headers=OPERATOR)


async def get(client: Client, path: str) -> httpx.Response:
    return await client.get(path, headers=OPERATOR)


def problem(answer: httpx.Response) -> str:
    """Return the name of the problem in an answer."""
    kind: str = answer.json()["type"]
    return kind.removeprefix("urn:problem-type:allocation:")


async def test_a_user_is_registered_and_found_at_once(client: Client) -> None:
    """The read model follows; a client that has just registered need not wait for it."""
    response = await register(client)

    assert response.status_code == 201
    user = response.json()
    assert user == {"user_id": user["user_id"], "name": "Иван", "email": "ivan@example.com"}
    assert response.headers["location"] == f"/users/{user['user_id']}"
    found = await get(client, response.headers["location"])
    assert found.json() | user | {"coupon_code": None} == found.json()


@pytest.mark.parametrize(
    ("quantity", "status"), [(b"10.0", 201), (b"10", 201), (b"10.5", 422), (b"true", 422)]
)
async def test_a_number_is_whole_however_it_is_spelled(
    client: Client, quantity: bytes, status: int
) -> None:
    """To JSON, 10.0 is 10."""
    body = b'{"reference": "WELCOME", "quantity": %b}' % quantity
    headers = OPERATOR | {"Content-Type": "application/json"}
    answer = await client.post("/coupon-batches", content=body, headers=headers)

    assert answer.status_code == status


@pytest.mark.parametrize(
    "address", ["a@b", "root@localhost", "a@127.0.0.1", f"a@{'b' * 64}.example"]
)
async def test_nobody_registers_what_no_mail_server_takes(client: Client, address: str) -> None:
    """It would be parked, and call an operator: not for a stranger to decide."""
    refused = await register(client, email=address)
    registered = await register(client)
    changed = await change_email(client, registered.headers["location"], address)

    assert (refused.status_code, changed.status_code) == (422, 422)
    assert problem(refused) == "invalid-value"


async def test_users_are_listed_a_page_at_a_time(client: Client) -> None:
    """Each once, by the links only."""
    for number in range(5):
        await register(client, email=f"user{number}@example.com")

    found, path = [], "/users?limit=2"
    while path:
        page = await get(client, path)
        found += [user["email"] for user in page.json()]
        path = page.links.get("next", {}).get("url", "")

    assert sorted(found) == [f"user{number}@example.com" for number in range(5)]
    [only] = (await get(client, "/users?email=USER3@example.com")).json()
    assert only["email"] == "user3@example.com"
    assert (await get(client, "/users?email=nobody@example.com")).json() == []


async def test_an_unknown_user_is_not_found(client: Client) -> None:
    """Whether looked at or changed."""
    path = f"/users/{uuid4()}"

    for answer in (await get(client, path), await change_email(client, path, "a@x.org")):
        assert (answer.status_code, problem(answer)) == (404, "user-not-found")


async def test_a_coupon_is_redeemed_once(
    web_settings: Settings, each_app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """A key recognizes a repetition; without it, another redemption is too late.

    The code is in the body only, and in no log: it is money.
    """
    for package in ("aftercommit", "allocation"):
        caplog.set_level(logging.DEBUG, package)
    async with http_client(APP, web_settings, each_app) as client:
        added = await client.post("/coupon-batches", json=BATCH, headers=OPERATOR)
        await register(client)
    code, keyed = await code_of(each_app, "ivan@example.com"), {"Idempotency-Key": "k1"}
    async with http_client(APP, web_settings, each_app) as client:
        answers = [
            await client.post("/coupon-redemptions", json={"code": code}, headers=OPERATOR | more)
            for more in (keyed, keyed, {})
        ]
        [user] = (await get(client, "/users")).json()

    assert (added.status_code, added.json()) == (201, BATCH)
    assert [answer.status_code for answer in answers] == [204, 204, 409]
    assert problem(answers[-1]) == "coupon-already-redeemed"
    assert (user["coupon_code"], user["coupon_state"]) == (code, "redeemed")
    assert code not in caplog.text + answers[-1].text


async def test_strangers_neither_read_nor_redeem(client: Client) -> None:
    """Addresses are personal, and codes could be tried."""
    user = (await register(client)).headers["location"]
    assert [(await client.get(path)).status_code for path in ("/users", user)] == [401, 401]
    guess, malformed = {"code": "WELCOME-1"}, {"code": ""}
    answers = [
        await client.post("/coupon-redemptions", json=guess),
        await client.post("/coupon-redemptions", json=guess, headers=OPERATOR),
        await client.post("/coupon-redemptions", json=malformed, headers=OPERATOR),
    ]

    assert [answer.status_code for answer in answers] == [401, 404, 422]
    assert problem(answers[1]) == "coupon-not-found"
    assert "WELCOME-1" not in answers[1].text


def test_anybody_may_call_what_is_listed_and_nothing_else() -> None:
    """An endpoint that was given to the wrong router would be open to the world."""
    golden = Path(__file__).parents[1] / "golden"
    testing.check_public_routes(APP, golden / "public_routes.txt")
