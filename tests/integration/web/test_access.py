"""Who may do what, and what every answer has: without the token, only what is public."""

from dataclasses import replace

import pytest

from allocation.config import Settings
from allocation.entrypoints.web.settings import WebSettings
from tests.integration.web.conftest import OPERATOR, TOKEN, Web, running_web

pytestmark = pytest.mark.anyio

PUBLIC = {"/healthz", "/readyz", ("post", "/users")}


async def test_all_but_a_few_needs_the_token(web: Web) -> None:
    """Also what is added later: it is asked of the document what there is."""
    paths = (await web.client.get("/openapi.json")).json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            if path in PUBLIC or (method, path) in PUBLIC:
                assert "security" not in operation
                continue
            assert operation["security"] == [{"operator": []}]
            for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": TOKEN}):
                answer = await web.client.request(method, path, headers=headers)
                assert answer.status_code in (401, 405), (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_answer_is_safe_to_show(web: Web) -> None:
    """In a browser, in a frame, in a cache; whatever the answer is."""
    for path in ("/healthz", "/users", "/nowhere", "/docs", "/docs/assets/swagger-ui.css"):
        headers = (await web.client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-request-id"]
        assert not [name for name in headers if name.startswith("access-control")]


async def test_the_page_has_no_script_in_it_and_asks_nobody_else(web: Web) -> None:
    """So the policy can forbid all others."""
    page = (await web.client.get("/docs")).text

    assert "://" not in page
    assert "<script>" not in page
    for path in ("/docs/page.js", "/docs/assets/swagger-ui-bundle.js"):
        assert f'src="{path}"' in page
        assert (await web.client.get(path)).status_code == 200


async def test_only_the_hosts_that_are_allowed(settings: Settings) -> None:
    """A page of somebody else, whose name leads here, gets nothing (DNS rebinding)."""
    of_web = WebSettings(allowed_hosts="API.example.com test")
    async with running_web(replace(settings, of_rooms=(of_web,))) as web:
        answers = [
            await web.client.get("/healthz", headers={"Host": host})
            for host in ("api.example.com:8000", "test", "evil.example.com", "[::1]:80")
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 400, 400]
    assert answers[-1].json()["type"].endswith(":unknown-host")


async def test_pages_of_others_may_ask_only_if_they_are_named(settings: Settings) -> None:
    """Then they can read every answer, also a problem, and whose story it is."""
    of_web = WebSettings(allowed_origins="https://shop.example.com https://a.example.com")
    async with running_web(replace(settings, of_rooms=(of_web,))) as web:
        answers = [
            await web.client.post("/users", content=b"{}", headers={"Origin": origin})
            for origin in ("https://shop.example.com", "https://evil.example.com")
        ]
        asked = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "POST"}
        wanted = {"Access-Control-Request-Headers": "content-type, idempotency-key"}
        before = await web.client.options("/users", headers=asked | wanted)

    assert [answer.status_code for answer in answers] == [415, 415]
    allowed = [answer.headers.get("access-control-allow-origin") for answer in answers]
    assert allowed == ["https://shop.example.com", None]
    assert "X-Request-ID" in answers[0].headers["access-control-expose-headers"]
    assert before.status_code == 200
    assert "access-control-allow-credentials" not in before.headers


async def test_secrets_are_in_no_answer_and_no_log(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the right token nor a wrong one."""
    with caplog.at_level("DEBUG"):
        answers = [
            await web.client.get("/users", headers=headers)
            for headers in (OPERATOR, {"Authorization": "Bearer wr0ng-but-secret"})
        ]

    said = caplog.text + "".join(answer.text for answer in answers)
    assert TOKEN not in said
    assert "wr0ng-but-secret" not in said
    assert TOKEN not in repr(WebSettings(operator_token=TOKEN))
