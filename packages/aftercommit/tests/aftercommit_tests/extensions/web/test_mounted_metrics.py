"""Metrics in applications of others: gauges of the database, for those whom the guard lets in."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aftercommit import InvalidValue, Outbox
from aftercommit.errors import WiringError
from fastapi import FastAPI, Request
from starlette.routing import Route
from starlette.types import ASGIApp

from aftercommit_tests.extensions.metrics.samples import Samples, samples
from aftercommit_tests.extensions.web.mounting import (
    APPLICATIONS,
    FOREIGN,
    HOST,
    MARIA,
    browser,
    in_fastapi,
    signed_in,
    stripped,
)
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.metrics import process_health
from aftercommit_tests.outbox.orders import Shop, open_shop

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio")]

METRICS = f"{HOST}/metrics"
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
OF_ONE_PROCESS = ("process_", "shop_attempts", "shop_connections", "shop_writes_failing")


@pytest.fixture
async def shop(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Shop]:
    """An application with an outbox, which is not inside `running()` yet."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend) as shop:
        yield shop


@pytest.fixture(params=APPLICATIONS)
def application(request: pytest.FixtureRequest, shop: Shop) -> ASGIApp:
    """The metrics in an application of each kind."""
    app: ASGIApp = APPLICATIONS[request.param](shop.outbox)
    return app


async def told(client: httpx.AsyncClient) -> Samples:
    """Return what is told to somebody who may know it."""
    answer = await client.get(METRICS, headers=MARIA)
    assert answer.status_code == 200, answer.text
    return samples(answer.content)


async def test_the_gauges_of_the_database_are_told_to_whom_the_guard_lets_in(
    shop: Shop, application: ASGIApp
) -> None:
    """And nothing of this process alone, which another process would contradict."""
    async with shop.outbox.running(), browser(application) as client:
        found = await told(client)
        refused = await client.get(METRICS)

    assert found["shop_database_up",] == 1
    assert found["shop_deliveries", "reserve", "parked"] == 0
    assert [names for names in found if names[0].startswith(OF_ONE_PROCESS)] == []
    assert refused.status_code == 401
    assert "sign in first" in refused.text


async def test_outside_of_running_there_are_no_metrics(shop: Shop, application: ASGIApp) -> None:
    """Also afterwards; and who may not see them learns nothing about that."""
    async with browser(application) as client:
        for _ in range(2):
            closed = await client.get(METRICS, headers=MARIA)
            assert (closed.status_code, closed.headers["retry-after"]) == (503, "2")
            assert (await client.get(METRICS)).status_code == 401
            async with shop.outbox.running():
                assert (await client.get(METRICS, headers=MARIA)).status_code == 200


@pytest.mark.parametrize("name", [None, "", True, 7])
async def test_without_a_guard_or_a_name_nobody_reads_them(shop: Shop, name: object) -> None:
    """Whoever forgets the guard, or what it returns, shows them to nobody."""

    async def forgetful(request: Request) -> object:
        return name

    app = FastAPI()
    app.routes.append(Route("/none", shop.outbox.metrics()))
    app.mount("/metrics", shop.outbox.metrics(forgetful))  # type: ignore[arg-type]
    async with shop.outbox.running(), browser(app, "") as client:
        for path in ("/none", "/metrics/"):
            refused = await client.get(path, headers=MARIA)
            assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")


@pytest.mark.parametrize("headers", FOREIGN)
async def test_nobody_changes_them_and_no_other_site_reads_them(
    shop: Shop, application: ASGIApp, headers: dict[str, str]
) -> None:
    """Whoever is let in: the browser sends a cookie of the application from other sites, too."""
    async with shop.outbox.running(), browser(application) as client:
        for method in ("POST", "PUT", "DELETE"):
            refused = await client.request(method, METRICS, headers=MARIA | headers)
            assert refused.status_code == 403, refused.text
            own = await client.request(method, METRICS, headers=MARIA | {"Origin": HOST})
            assert own.status_code == 405
        read = await client.get(METRICS, headers=MARIA | headers)

    assert read.status_code == (403 if "Sec-Fetch-Site" in headers else 200)
    assert "frame-ancestors 'none'" in read.headers["content-security-policy"]
    assert read.headers["x-content-type-options"] == "nosniff"
    assert read.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("root", ["", "/intern"])
async def test_a_proxy_may_remove_a_prefix(shop: Shop, root: str) -> None:
    """Whether the application is told or not; mounted with a slash or not."""
    app = in_fastapi(shop.outbox)
    app.mount("/mounted", shop.outbox.metrics(signed_in))
    behind = stripped(app, "/intern", root)
    async with shop.outbox.running(), browser(behind, "/intern") as client:
        for path in ("/metrics", "/mounted/"):
            answer = await client.get(path, headers=MARIA)
            assert "shop_database_up 1.0" in answer.text


async def test_a_database_that_is_down_makes_no_scrape_fail(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert about it is one about `shop_database_up`."""

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(process_health, "readiness_error", away)
    async with shop.outbox.running(), browser(in_fastapi(shop.outbox)) as client:
        found = await told(client)

    assert found["shop_database_up",] == 0
    assert not any(names[0] == "shop_deliveries" for names in found)


def test_what_is_missing_is_named_when_they_are_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when somebody reads them for the first time."""
    with pytest.raises(WiringError, match="MetricsExtension"):
        Outbox("shop", "sqlite:///shop.db", [], extensions=[]).metrics()
    monkeypatch.setenv(DIRECTORY, str(tmp_path / "nowhere"))
    with pytest.raises(InvalidValue, match=f"{DIRECTORY} is no directory"):
        Outbox("shop", "sqlite:///shop.db", []).metrics()
