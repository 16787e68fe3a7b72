"""Over HTTP, an application shows its own name: in cookies, problems and pages."""

from pathlib import Path

import pytest

from tests.integration.extensions.web.conftest import running_web
from tests.shop import Shop, ShopSettings
from tests.web import TOKEN

pytestmark = pytest.mark.anyio


async def test_cookies_problems_metrics_and_pages_have_the_name(
    empty_url: str, tmp_path: Path
) -> None:
    """A browser that is logged in at two applications of a host keeps both sessions."""
    shop = ShopSettings(database_url=empty_url, mail_url=f"maildir:{tmp_path / 'mail'}")
    async with running_web(shop, described=Shop) as web:
        refused = await web.client.get("/users")
        assert refused.json()["type"] == "urn:problem-type:shop:not-authenticated"

        entered = await web.client.post("/page/session", json={"token": TOKEN})
        assert [*entered.cookies] == ["shop-"]
        assert (await web.client.get("/page/handler-map")).status_code == 200

        page, documentation = await web.client.get("/"), await web.client.get("/docs")
        assert "<title>shop</title>" in page.text
        assert "SHOP_OPERATOR_TOKEN" in page.text
        assert "<title>shop</title>" in documentation.text
        assert "allocation" not in (page.text + documentation.text).lower()

        await web.probes.look(with_stats=True)
        names = {metric.name for metric in web.probes.collect()}
        assert "shop_deliveries" in names
        assert {name for name in names if not name.startswith("shop_")} == set()
