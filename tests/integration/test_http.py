"""The API over HTTP, on each database: each request once, however often it is asked for.

The requests are calls: there is no server. That its answers are those of its document, which a real
server is asked for: `tests/e2e/test_http.py`.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx
import pytest
from aftercommit import Application
from aftercommit.extensions.web.settings import WebSettings
from aftercommit.extensions.web.testing import http_client
from aftercommit.sql import tables

from allocation.adapters import orm
from allocation.config import Settings
from allocation.domain.commands import RecordBounce
from allocation.domain.events import UserId
from allocation.entrypoints.allocation import Allocation
from tests.looking import code_of, count, rows

pytestmark = pytest.mark.anyio

APP = Allocation()
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


async def register(
    client: Client, key: str = "", *, email: str = "ivan@example.com", **more: Any
) -> httpx.Response:
    """Register a user, under a key if there is one."""
    headers = more.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
    registration = {"name": "Иван", "email": email, **more}
    return await client.post("/users", json=registration, headers=headers)


async def change_email(client: Client, user: str, email: str, **headers: str) -> httpx.Response:
    return await client.put(f"{user}/email", json={"email": email}, headers=OPERATOR | headers)


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


async def test_handlers_run_after_the_answer(web_settings: Settings, each_app: Application) -> None:
    """The caller waits for the commit only; the application does not end before the rest."""
    async with http_client(APP, web_settings, each_app) as client:
        added = await client.post("/coupon-batches", json=BATCH, headers=OPERATOR)
        registered = await register(client)
    async with http_client(APP, web_settings, each_app) as client:
        found = await get(client, registered.headers["location"])

    assert (added.status_code, added.json()) == (201, BATCH)
    assert found.json()["coupon_code"].startswith("WELCOME-")


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


async def test_dispatch_can_be_left_to_workers(
    web_settings: Settings, each_app: Application
) -> None:
    """A front-end that is busy answers all the same."""
    busy = replace(web_settings, max_dispatches=0)
    async with http_client(APP, busy, each_app) as client:
        await register(client)

    stored = await rows(each_app, tables.deliveries.select())
    assert {(row.attempts, row.owner, row.completed_at) for row in stored} == {(0, None, None)}


async def test_the_same_key_with_the_same_body_gives_the_first_result(
    client: Client, each_app: Application
) -> None:
    """A client that never got the answer asks again; also for an id that the server made.

    The result stays the first one when the user has changed. Without the key, the same request
    would be refused then.
    """
    first = await register(client, "k1")
    again = await register(client, '"k1"')  # as the draft spells it
    await change_email(client, first.headers["location"], "ivan@example.org")
    late = await register(client, "k1")
    without = await register(client, user_id=first.json()["user_id"])

    for each in (again, late):
        assert (each.status_code, each.content) == (201, first.content)
        for name in ("location", "x-request-id"):
            assert each.headers[name] == first.headers[name]
    assert without.status_code == 409
    assert await count(each_app, orm.users) == 1


async def test_the_same_key_with_another_body_is_refused(
    client: Client, each_app: Application
) -> None:
    """It is a mistake of the caller, who should hear of it."""
    await register(client, "k1")

    response = await register(client, "k1", email="maria@example.com")

    assert (response.status_code, problem(response)) == (422, "idempotency-key-reused")
    assert await count(each_app, orm.users) == 1


async def test_the_same_key_at_the_same_moment_has_one_effect(
    client: Client, each_app: Application
) -> None:
    """The second waits for the first, and gets its result."""
    answers = []

    async def ask() -> None:
        answers.append(await register(client, "k1"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)

    assert {(each.status_code, each.content) for each in answers} == {(201, answers[0].content)}
    assert await count(each_app, orm.users) == 1


async def test_keys_of_two_callers_do_not_meet(client: Client, each_app: Application) -> None:
    """A key is no secret, and everybody may count from one. No token can be guessed from a source.

    Sources are in backups and on the page: of the operator's token they have not even a hash.
    """
    await client.post("/coupon-batches", json=BATCH, headers=OPERATOR)
    mine = await register(client, "1", headers={"Authorization": "Bearer of-a-shop"})
    theirs = await register(client, "1", email="maria@example.com")

    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["user_id"] != theirs.json()["user_id"]
    sources = {row.source for row in await rows(each_app, tables.commands.select())}
    assert len(sources) == 3
    assert "http:operator POST /coupon-batches" in sources
    guesses = ("shop", sha256(b"of-a-shop").hexdigest()[:8])
    assert not any(guess in source for source in sources for guess in guesses)


async def test_a_refusal_is_not_remembered(client: Client) -> None:
    """Nothing was done, so the same key can still do it when it has become possible."""
    first = await register(client, email="IVAN@example.com")
    refused = await register(client, "k1")
    await change_email(client, first.headers["location"], "x@example.com")

    accepted = await register(client, "k1")

    assert (refused.status_code, accepted.status_code) == (409, 201)
    assert problem(refused) == "email-already-registered"


async def test_a_change_under_a_key_happens_once(client: Client) -> None:
    """A late repetition does not undo what came after it."""
    user, once = (await register(client)).headers["location"], {"Idempotency-Key": "k1"}
    for email, headers in (("a@x.org", once), ("b@x.org", {}), ("a@x.org", once)):
        response = await change_email(client, user, email, **headers)
        assert (response.status_code, response.content) == (204, b"")

    assert [user["email"] for user in (await get(client, "/users")).json()] == ["b@x.org"]


@pytest.mark.parametrize(
    "address", ["a@b", "root@localhost", "a@127.0.0.1", f"a@{'b' * 64}.example"]
)
async def test_nobody_registers_what_no_mail_server_takes(client: Client, address: str) -> None:
    """It would be parked, and call a person: not for a stranger to decide."""
    refused = await register(client, email=address)
    registered = await register(client)
    changed = await change_email(client, registered.headers["location"], address)

    assert (refused.status_code, changed.status_code) == (422, 422)
    assert problem(refused) == "invalid-value"


@pytest.mark.parametrize("address", ["ivan@почта.рф", "a@b.co", f"a@{'b' * 63}.example"])
async def test_a_user_with_an_unusual_address_may_register(client: Client, address: str) -> None:
    """Any script, and any length that the internet has."""
    assert (await register(client, email=address)).status_code == 201


async def test_an_address_that_does_not_exist_is_shown_until_there_is_another_one(
    client: Client, each_app: Application
) -> None:
    """Nothing is sent there, and operators who look at the list see why."""
    user = (await register(client, email="old@example.com")).headers["location"]
    user_id = UserId(UUID(user.rpartition("/")[2]))
    await each_app.bus.handle(RecordBounce(user_id=user_id, email="old@example.com"))
    shown, [listed] = (await get(client, user)).json(), (await get(client, "/users")).json()

    await change_email(client, user, "new@example.com")

    assert (shown["email_undeliverable"], listed["email_undeliverable"]) == (True, True)
    assert (await get(client, user)).json()["email_undeliverable"] is False


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
        await client.post("/coupon-batches", json=BATCH, headers=OPERATOR)
        await register(client)
    code, keyed = await code_of(each_app, "ivan@example.com"), {"Idempotency-Key": "k1"}
    async with http_client(APP, web_settings, each_app) as client:
        answers = [
            await client.post("/coupon-redemptions", json={"code": code}, headers=OPERATOR | more)
            for more in (keyed, keyed, {})
        ]
        [user] = (await get(client, "/users")).json()

    assert [answer.status_code for answer in answers] == [204, 204, 409]
    assert problem(answers[-1]) == "coupon-already-redeemed"
    assert (user["coupon_code"], user["coupon_state"]) == (code, "redeemed")
    assert code not in caplog.text + answers[-1].text


async def test_nothing_is_redeemed_without_a_code_and_the_token(client: Client) -> None:
    """Codes could be tried."""
    guess, malformed = {"code": "WELCOME-1"}, {"code": ""}
    answers = [
        await client.post("/coupon-redemptions", json=guess),
        await client.post("/coupon-redemptions", json=guess, headers=OPERATOR),
        await client.post("/coupon-redemptions", json=malformed, headers=OPERATOR),
    ]

    assert [answer.status_code for answer in answers] == [401, 404, 422]
    assert problem(answers[1]) == "coupon-not-found"
    assert "WELCOME-1" not in answers[1].text


async def test_strangers_read_nothing(client: Client) -> None:
    """Addresses are personal."""
    user = (await register(client)).headers["location"]

    for path in ("/users", user):
        assert (await client.get(path)).status_code == 401


async def test_the_trace_of_the_caller_goes_on(client: Client, each_app: Application) -> None:
    """Operators who trace a request find here what belongs to it."""
    trace = "0b6f2c0e5d434f6e9a572f1d3c4b5a69"
    parent = f"00-{trace}-00f067aa0ba902b7-01"

    response = await register(client, headers={"traceparent": parent})

    assert response.headers["x-request-id"] == str(UUID(trace))
    [command] = await rows(each_app, tables.commands.select())
    [event, *_] = await rows(each_app, tables.events.select())
    assert command.correlation_id == event.correlation_id == UUID(trace)
    assert event.traceparent == parent
