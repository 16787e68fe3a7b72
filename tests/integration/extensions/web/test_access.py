"""Who may do what, and what every answer has: without the token, only what is public."""

from dataclasses import replace

import pytest
from aftercommit.extensions.web.settings import WebSettings

from allocation.config import Settings
from tests.integration.extensions.web.conftest import Web, running_web
from tests.web import OPERATOR, TOKEN

pytestmark = pytest.mark.anyio

PUBLIC: set[str | tuple[str, str]] = {"/healthz", "/readyz", ("post", "/users")}


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
        is_file = path.endswith(".css")  # large, and the same for everybody
        assert headers["cache-control"] == ("no-cache" if is_file else "no-store")
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
    async with running_web(replace(settings, of_extensions=(of_web,))) as web:
        answers = [
            await web.client.get("/docs", headers={"Host": host})
            for host in ("api.example.com:8000", "test", "evil.example.com", "[::1]:80")
        ]
        probes = [
            await web.client.get(path, headers={"Host": "10.1.2.3:8000"})
            for path in ("/healthz", "/readyz")
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 400, 400]
    assert answers[-1].json()["type"].endswith(":unknown-host")
    assert {probe.status_code for probe in probes} == {200}  # Kubernetes asks by the address


@pytest.mark.parametrize(
    ("listens_on", "status"),
    [("127.0.0.1", 400), ("::1", 400), ("localhost", 400), ("0.0.0.0", 200)],
)
async def test_a_loopback_address_is_asked_by_its_own_names(
    settings: Settings, listens_on: str, status: int
) -> None:
    """So a page whose name leads here (DNS rebinding) gets nothing, although nothing is set."""
    of_web = WebSettings(http_host=listens_on)
    async with running_web(replace(settings, of_extensions=(of_web,))) as web:
        theirs = await web.client.get("/docs", headers={"Host": "evil.example"})
        own = [
            await web.client.get("/docs", headers={"Host": host})
            for host in ("localhost:8000", "127.0.0.1", "[::1]:8000")
        ]

    assert theirs.status_code == status
    assert {answer.status_code for answer in own} == {200}


async def test_pages_of_others_may_ask_only_if_they_are_named(settings: Settings) -> None:
    """Then they can read every answer, also a problem, and whose story it is."""
    of_web = WebSettings(allowed_origins="https://shop.example.com https://a.example.com")
    async with running_web(replace(settings, of_extensions=(of_web,))) as web:
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
    assert before.headers["x-request-id"]
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


@pytest.mark.parametrize("path", ["/healthz", "/users", "/nowhere", "/docs"])
async def test_head_is_get_without_the_body(web: Web, path: str) -> None:
    """Monitors ask so (RFC 9110, 9.1)."""
    got = await web.client.get(path, headers=OPERATOR)
    head = await web.client.head(path, headers=OPERATOR)

    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_what_the_page_asks_for_has_no_body(web: Web) -> None:
    """Like any other."""
    head = await web.client.head("/page/changes", headers=OPERATOR)

    assert (head.status_code, head.content) == (200, b"")
