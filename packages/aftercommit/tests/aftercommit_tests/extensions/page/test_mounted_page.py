"""The page in applications of others: their guard lets operators in, and nobody else sees it."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from aftercommit import Outbox
from aftercommit.errors import WiringError
from fastapi import Depends, FastAPI, Request, Response
from starlette.types import ASGIApp

from aftercommit_tests.extensions.web.mounting import (
    APPLICATIONS,
    FOREIGN,
    FROM_PAGE,
    HOST,
    MARIA,
    browser,
    in_fastapi,
    signed_in,
    stripped,
)
from aftercommit_tests.inside.process import worker
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import OrderPlaced, Shop, open_shop, until

pytestmark = pytest.mark.anyio

PATHS = (
    "/",
    "/page/assets/page.js",
    "/page/changes",
    "/page/handler-map",
    "/deliveries",
    "/history",
)


@pytest.fixture
def anyio_backend() -> str:
    """FastAPI's servers run on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def mounted() -> None:
    """An application mounts the page while it is imported, before it has an event loop."""
    Outbox("shop", "sqlite:///shop.db", []).page()


@pytest.fixture
async def shop(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    """An application with an outbox, which is not inside `running()` yet."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend, fail) as shop:
        yield shop


async def fail(event: OrderPlaced) -> None:
    """Fail, until an operator has done something about it."""
    raise OSError("the printer is out of paper")


@pytest.fixture(params=APPLICATIONS)
def application(request: pytest.FixtureRequest, shop: Shop) -> ASGIApp:
    """The page in an application of each kind."""
    app: ASGIApp = APPLICATIONS[request.param](shop.outbox)
    return app


@pytest.fixture
async def client(application: ASGIApp, shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, while the outbox runs."""
    async with shop.outbox.running(), browser(application) as client:
        yield client


async def parked(shop: Shop) -> str:
    """Record an order whose handler fails for good; return the path of its delivery."""
    await shop.order(1)
    await until_parked(shop)
    [row] = await shop.rows(tables.deliveries.c.event_id)
    return f"/deliveries/{row.event_id}/fail"


async def until_parked(shop: Shop) -> None:
    """Wait until the delivery is parked, perhaps again."""

    async def is_parked() -> bool:
        return all(row.parked_at for row in await shop.rows(tables.deliveries.c.parked_at))

    await until(is_parked)


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is parked at once."""
    monkeypatch.setenv("SHOP_MAX_ATTEMPTS", "1")


async def test_the_page_is_shown_to_those_whom_the_guard_lets_in(
    shop: Shop, client: httpx.AsyncClient
) -> None:
    """With what the outbox has recorded; it asks for nothing that is not below its own address."""
    page = await client.get("/", headers=MARIA)

    assert page.status_code == 200
    assert "<title>shop</title>" in page.text
    assert '"/page' not in page.text
    await shop.order(1)
    script = await client.get("/page/assets/page.js", headers=MARIA)
    assert (script.status_code, script.headers["x-content-type-options"]) == (200, "nosniff")
    news = (await client.get("/page/changes", headers=MARIA)).json()
    assert [trace["nodes"][0]["name"] for trace in news["traces"]] in ([], ["order_placed"])
    assert (await client.get("/page/handler-map", headers=MARIA)).json()["handlers"].keys() == {
        "fail"
    }
    assert (await client.get("/nothing", headers=MARIA)).status_code == 404


@pytest.mark.parametrize("path", PATHS)
async def test_the_guard_decides_about_everything(client: httpx.AsyncClient, path: str) -> None:
    """The page, its scripts, its data; what the guard raises, the application answers."""
    refused = await client.get(path)

    assert refused.status_code == 401
    assert "sign in first" in refused.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [None, "", True, 7])
async def test_without_a_guard_or_a_name_nobody_is_let_in(
    shop: Shop, path: str, name: object
) -> None:
    """A guard that forgets to return who is asking is none; so nobody decides without a name."""

    async def forgetful(request: Request) -> Any:
        return name

    guards = [None] if name is None else [forgetful]
    for guard in (*guards, forgetful):
        app = FastAPI()
        app.include_router(shop.outbox.page_router(guard), prefix="/outbox")
        app.mount("/mounted", shop.outbox.page(guard))
        async with shop.outbox.running():
            for prefix in ("/outbox", "/mounted"):
                async with browser(app, prefix) as client:
                    refused = await client.get(path, headers=FROM_PAGE)
                    assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")


@pytest.mark.usefixtures("one_attempt")
async def test_a_decision_carries_the_name_of_who_made_it(
    shop: Shop, client: httpx.AsyncClient
) -> None:
    """As the guard has returned it; it is stored with the decision."""
    path = await parked(shop)

    retried = await client.post(f"{path}/retry?reason=paper", headers=FROM_PAGE)

    assert retried.status_code == 204, retried.text
    decision = tables.decisions.c
    [row] = await shop.rows(decision.decision, decision.decided_by, decision.reason)
    assert tuple(row) == ("retry", "maria@shop.example", "paper")
    paused = await client.put("/handlers/fail/pause", headers=FROM_PAGE)
    assert paused.status_code == 200
    [pause] = await shop.rows(tables.handler_pauses.c.paused_by)
    assert pause.paused_by == "maria@shop.example"


@pytest.mark.usefixtures("one_attempt")
async def test_what_is_retried_begins_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision wakes the worker of its process, also on a database that cannot notify."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 1000.0)
    async with shop.outbox.running(), browser(in_fastapi(shop.outbox)) as client:
        path = await parked(shop)

        retried = await client.post(f"{path}/retry", headers=FROM_PAGE)

        assert retried.status_code == 204, retried.text
        await until_parked(shop)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_what_changes_something_has_to_come_from_the_page(
    shop: Shop, client: httpx.AsyncClient, headers: dict[str, str], method: str
) -> None:
    """Whoever is let in: the browser sends a cookie of the application from other sites, too."""
    refused = await client.request(method, "/handlers/fail/pause", headers=MARIA | headers)

    assert refused.status_code == 403, refused.text
    assert await shop.rows(tables.decisions.c.id) == []


async def test_pages_of_others_can_open_it_and_read_nothing(client: httpx.AsyncClient) -> None:
    """A link to the page works; its data and scripts are for itself. Nobody may frame it."""
    elsewhere = MARIA | {"Sec-Fetch-Site": "cross-site"}

    page = await client.get("/", headers=elsewhere)

    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    for path in PATHS[1:]:
        refused = await client.get(path, headers=elsewhere)
        assert refused.status_code == 403
        assert "frame-ancestors 'none'" in refused.headers["content-security-policy"]


async def test_outside_of_running_the_answer_is_503(shop: Shop, application: ASGIApp) -> None:
    """Also afterwards; and whoever may not see the page learns nothing about that."""
    async with browser(application) as client:
        for _ in range(2):
            closed = await client.get("/", headers=MARIA)
            assert (closed.status_code, closed.headers["retry-after"]) == (503, "2")
            assert (await client.get("/")).status_code == 401
            async with shop.outbox.running():
                assert (await client.get("/", headers=MARIA)).status_code == 200
                assert (await client.get("/page/changes", headers=MARIA)).status_code == 200


async def test_a_guard_is_tested_without_a_worker(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the fixture `outbox_without_worker`, which starts nothing in a lifespan."""
    monkeypatch.setattr(shop.outbox, "running", nullcontext)
    async with shop.outbox.running(), browser(in_fastapi(shop.outbox)) as client:
        await ask_without_a_worker(client)


async def ask_without_a_worker(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 401
    assert (await client.get("/", headers=MARIA)).status_code == 503


async def test_a_body_has_its_limit(client: httpx.AsyncClient) -> None:
    """Named or not, in one piece or in many."""
    path = "/deliveries/0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69/fail/retry"
    keyed = FROM_PAGE | {"Idempotency-Key": "a"}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    for content in (b" " * 100_000, pieces()):
        assert (await client.post(path, content=content, headers=keyed)).status_code == 413


async def test_its_address_ends_with_a_slash(client: httpx.AsyncClient) -> None:
    """All addresses in the page are relative to it, so without the slash they would be others."""
    redirected = await client.get(HOST + "/admin/outbox", headers=MARIA)

    assert redirected.status_code == 307
    address = httpx.URL(HOST + "/admin/outbox").join(redirected.headers["location"])
    assert address == f"{HOST}/admin/outbox/"


@pytest.mark.parametrize("root", ["", "/intern"])
@pytest.mark.parametrize("kind", ["fastapi", "mounted"])
async def test_a_proxy_may_remove_a_prefix(shop: Shop, kind: str, root: str) -> None:
    """Whether the application is told or not: the page needs no address but its own."""
    app = FastAPI() if kind == "mounted" else in_fastapi(shop.outbox)
    if kind == "mounted":
        app.mount("/admin/outbox", shop.outbox.page(signed_in))
    behind = stripped(app, "/intern", root)
    async with shop.outbox.running(), browser(behind, "/intern/admin/outbox") as client:
        for path in PATHS:
            answer = await client.get(path, headers=MARIA)
            assert answer.status_code == 200, (path, answer.text)
        assert (await client.put("/handlers/fail/pause", headers=FROM_PAGE)).status_code == 200


async def test_a_guard_of_fastapi_is_a_dependency_like_any_other(shop: Shop) -> None:
    """It may depend on others, read the body, and set a cookie."""

    def named(request: Request) -> str:
        return request.headers["x-user"]

    async def guard(
        request: Request, response: Response, name: str = Depends(named)
    ) -> AsyncIterator[str]:
        await request.body()
        response.set_cookie("seen", "yes")
        yield name

    app = FastAPI()
    app.include_router(shop.outbox.page_router(guard), prefix="/outbox")
    async with shop.outbox.running(), browser(app, "/outbox") as client:
        page = await client.get("/", headers=MARIA)
        paused = await client.put("/handlers/fail/pause", headers=FROM_PAGE, content=b"{}")

    assert (page.status_code, page.cookies["seen"], paused.status_code) == (200, "yes", 200)
    [pause] = await shop.rows(tables.handler_pauses.c.paused_by)
    assert pause.paused_by == "maria@shop.example"


async def test_what_a_guard_returns_instead_of_a_name_is_in_no_log(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """A user of the application may be shown with what nobody should read."""

    async def guard() -> list[str]:
        return ["the hash of a password"]

    app = FastAPI()
    app.include_router(shop.outbox.page_router(guard), prefix="/outbox")
    async with shop.outbox.running(), browser(app, "/outbox") as client:
        assert (await client.get("/")).status_code == 403

    assert "has returned no name, but a list" in caplog.text
    assert "password" not in caplog.text


async def test_routes_may_be_named_by_their_first_tag(shop: Shop) -> None:
    """As FastAPI's documentation shows for those who make clients of an API."""
    app = FastAPI(generate_unique_id_function=lambda route: f"{route.tags[0]}-{route.name}")
    app.include_router(shop.outbox.page_router(signed_in), prefix="/outbox")
    async with shop.outbox.running(), browser(app, "") as client:
        assert (await client.get("/outbox/", headers=MARIA)).status_code == 200
        assert (await client.get("/nowhere")).status_code == 404


async def test_a_name_of_any_length_and_kind_is_kept_as_it_is_shown(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Up to the length that lists show; nothing of it is markup or an error, also in a log."""
    caplog.set_level("INFO")
    names = ["М" * 300, "<script>alert(1)</script>", "a\0b\ud800", "ann\nforged"]
    app = FastAPI()

    async def guard(request: Request) -> str:
        return names[int(request.headers["x-user"])]

    app.include_router(shop.outbox.page_router(guard), prefix="/outbox")
    async with shop.outbox.running(), browser(app, "/outbox") as client:
        for number in range(len(names)):
            headers = {"X-User": str(number), "Origin": HOST}
            answer = await client.put("/handlers/fail/pause", headers=headers)
            assert answer.status_code == 200, answer.text

    stored = {row.decided_by for row in await shop.rows(tables.decisions.c.decided_by)}
    assert "М" * 200 in stored
    logged = caplog.text.encode()  # which fails with half of a character
    assert b"pause of fail, by hand, from" in logged
    assert b"\nforged" not in logged


async def test_a_guard_that_cannot_be_awaited_is_refused_at_start(shop: Shop) -> None:
    """Otherwise, each request would fail, and in some frameworks without a word."""
    with pytest.raises(WiringError, match="make the guard with `async def`"):
        shop.outbox.page(lambda request: "maria")  # type: ignore[arg-type, return-value]
