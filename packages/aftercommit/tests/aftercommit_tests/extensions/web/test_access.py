"""Who may do what, and what every answer has: without the token, only what is public."""

import re
import threading
from dataclasses import replace

import pytest
from aftercommit.extensions.web.settings import WebSettings

from aftercommit_tests.extensions.web.running import OPERATOR, TOKEN, Web, running_web
from aftercommit_tests.things.app import APP, Settings

pytestmark = pytest.mark.anyio

PUBLIC: set[str | tuple[str, str]] = {"/healthz", "/readyz", ("post", "/things")}


async def test_all_but_a_few_needs_the_token(web: Web) -> None:
    """Also what is added later: it is asked of the document what there is."""
    paths = (await web.client.get("/openapi.json")).json()["paths"]
    assert "/things/{name}" in paths
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


PATHS = ["/", "/healthz", "/things/lamp", "/nowhere", "/docs", "/page/assets/page.js"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_safe_to_show(web: Web, path: str) -> None:
    """In a browser, in a frame, in a cache; no page has a script in it, or asks another server.

    HEAD is GET without the body: monitors ask so (RFC 9110, 9.1).
    """
    answer = await web.client.get(path, headers=OPERATOR)
    head = await web.client.head(path, headers=OPERATOR)

    policy = answer.headers["content-security-policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'", "script-src 'self'"} <= {
        *policy.split("; ")
    }
    assert path != "/" or "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    is_file = path.endswith(".js")  # the same for everybody
    assert answer.headers["cache-control"] == ("no-cache" if is_file else "no-store")
    assert answer.headers["x-request-id"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if path in ("/", "/docs"):
        assert not re.search("://|<script>", answer.text)
        for script in re.findall(r'<script.* src="(.*?)"', answer.text):
            assert (await web.client.get(script)).status_code == 200
    assert (head.status_code, head.content) == (answer.status_code, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == answer.headers[name]


OWN = ("localhost:8000", "127.0.0.1", "[::1]:8000")
NAMED = WebSettings(allowed_hosts="API.example.com test")


@pytest.mark.parametrize(
    ("of_web", "answered", "refused"),
    [
        (NAMED, ("api.example.com:8000", "test"), ("evil.example.com", "[::1]:80")),
        (WebSettings(http_host="127.0.0.1"), OWN, ("evil.example",)),
        (WebSettings(http_host="::1"), OWN, ("evil.example",)),
        (WebSettings(http_host="localhost"), OWN, ("evil.example",)),
        (WebSettings(http_host="0.0.0.0"), (*OWN, "evil.example"), ()),
    ],
)
async def test_only_the_hosts_that_are_allowed(
    settings: Settings, of_web: WebSettings, answered: tuple[str], refused: tuple[str]
) -> None:
    """A page of somebody else, whose name leads here, gets nothing (DNS rebinding).

    A loopback address is asked by its own names, although nothing is set.
    """
    async with running_web(APP, replace(settings, of_extensions=(of_web,))) as web:
        for hosts, expected in ((answered, 200), (refused, 400)):
            for host in hosts:
                answer = await web.client.get("/docs", headers={"Host": host})
                assert answer.status_code == expected, host
                if expected == 400:
                    assert answer.json()["type"] == "urn:problem-type:things:unknown-host"
        for path in ("/healthz", "/readyz"):  # Kubernetes asks by the address
            probe = await web.client.get(path, headers={"Host": "10.1.2.3:8000"})
            assert probe.status_code == 200


async def test_pages_of_others_may_ask_only_if_they_are_named(settings: Settings) -> None:
    """Then they can read every answer, also a problem, and whose trace it is."""
    of_web = WebSettings(allowed_origins="https://shop.example.com https://a.example.com")
    async with running_web(APP, replace(settings, of_extensions=(of_web,))) as web:
        answers = [
            await web.client.post("/things", content=b"{}", headers={"Origin": origin})
            for origin in ("https://shop.example.com", "https://evil.example.com")
        ]
        asked = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "POST"}
        wanted = {"Access-Control-Request-Headers": "content-type, idempotency-key"}
        before = await web.client.options("/things", headers=asked | wanted)

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
    """Neither the right token nor a wrong one, whichever way it is sent."""
    with caplog.at_level("DEBUG"):
        answers = [
            answer
            for sent in (TOKEN, f"{TOKEN}x", "wr0ng-but-secret")
            for answer in (
                await web.client.get("/metrics", headers={"Authorization": f"Bearer {sent}"}),
                await web.client.post("/page/session", json={"token": sent}),
            )
        ]

    ours = [r.getMessage() for r in caplog.records if r.name.startswith("aftercommit")]
    assert [answer.status_code for answer in answers] == [200, 204, 401, 401, 401, 401]
    assert ["set-cookie" in answer.headers for answer in answers] == [False, True, *[False] * 4]
    assert "POST '/page/session': 401" in ours
    said = "".join(
        [*ours, *(answer.text for answer in answers), repr(WebSettings(operator_token=TOKEN))]
    )
    assert TOKEN not in said
    assert "wr0ng" not in said


async def test_no_request_takes_a_thread(settings: Settings) -> None:
    """FastAPI runs a dependency in one if it is not asynchronous, which costs more than most do."""
    before = {*threading.enumerate()}
    async with running_web(APP, replace(settings, dispatch="worker")) as web:
        assert (await web.make_thing()).status_code == 201
        assert (await web.get("/deliveries")).status_code == 200
        started = {*threading.enumerate()} - before

    assert not [each.name for each in started if each.name.startswith("AnyIO")]
