"""The cookie of a browser: another one at each log-in, for half a day, and gone when wanted."""

from time import time

import httpx
import pytest
from fastapi.routing import APIRoute

from aftercommit_tests.extensions.web.running import OPERATOR, TOKEN, Web
from aftercommit_tests.inside.web import browser_sessions, data, router

pytestmark = pytest.mark.anyio

NAME = "things-"  # and the port, if there is one: browsers send cookies to all ports of a host
OPEN = {("GET", "/"), ("POST", "/page/session")}
ASSETS = {("GET", "/page/assets/{path:path}")}
ORIGIN = {"Origin": "http://localhost"}
HOUR = 3600


async def logged_in(web: Web, sent: str = TOKEN, **headers: str) -> httpx.Response:
    """Log in, and return the answer; the client keeps its cookie."""
    web.client.cookies.clear()
    answer = await web.client.post("/page/session", json={"token": sent}, headers=headers)
    assert answer.status_code == 204
    return answer


async def has_session(web: Web, cookie: str | None = None) -> bool:
    if cookie is not None:
        web.client.cookies.clear()
        web.client.cookies.set(NAME, cookie)
    return (await web.client.get("/page/handler-map")).status_code == 200


async def test_all_data_of_the_page_need_the_token_or_the_cookie(web: Web) -> None:
    """It is asked of the router what there is; the rest has no data in it."""
    listed = (*router.routes, *data.routes)  # the first may not list what it includes
    routes = [route for route in listed if isinstance(route, APIRoute)]
    ways = {(method, route.path) for route in routes for method in route.methods or ()}
    assert ways > OPEN | {("GET", "/page/changes")}
    for method, path in ways - OPEN - ASSETS:
        answer = await web.client.request(method, path)
        assert answer.status_code == 401, path

    assert (await web.get("/page/handler-map")).status_code == 200
    await logged_in(web)
    assert await has_session(web)


async def test_each_log_in_has_a_cookie_of_its_own(web: Web) -> None:
    """No script can read it, other sites cannot send it, and it says nothing of the token."""
    answers = [await logged_in(web) for _ in range(3)]

    assert len({answer.cookies[NAME] for answer in answers}) == 3
    for cookie in (answer.headers["set-cookie"] for answer in answers):
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= {*cookie.split("; ")}
        assert TOKEN not in cookie


async def test_behind_tls_the_cookie_goes_over_nothing_else(web: Web) -> None:
    """However proxies spell it."""
    for scheme, is_secure in (("https", 1), ("HTTPS", 1), ("https, http", 1), ("http", 0)):
        answer = await logged_in(web, **{"X-Forwarded-Proto": scheme})
        assert ("; Secure" in answer.headers["set-cookie"]) == is_secure


async def test_a_code_lets_one_browser_in_and_is_no_token(web: Web) -> None:
    """It stands in a link, and links are stored, shown and sent."""
    code = web.app.state.sessions.new_code()
    bearer = {"Authorization": f"Bearer {code}"}

    assert (await web.client.get("/page/handler-map", headers=bearer)).status_code == 401
    await logged_in(web, code)
    assert await has_session(web)
    assert (await web.client.post("/page/session", json={"token": code})).status_code == 401
    assert (await web.client.get("/", params={"token": TOKEN})).cookies == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (ORIGIN, 200),
        (ORIGIN | {"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 401),
        ({"Origin": "null"}, 401),
        ({"Origin": "http://localhost.evil.example"}, 401),
        ({"Origin": "http://localhost:81"}, 401),
        (ORIGIN | {"Sec-Fetch-Site": "same-site"}, 401),
        (ORIGIN | {"Sec-Fetch-Site": "cross-site"}, 401),
        (OPERATOR, 200),  # anyone who knows the token needs no cookie
        ({"Authorization": "Bearer another-token-entirely"}, 401),
    ],
)
async def test_a_cookie_changes_something_only_from_this_page(
    web: Web, headers: dict[str, str], status: int
) -> None:
    """The page of another port of this host is on the same site, and would send the cookie."""
    await logged_in(web)

    answer = await web.client.delete("/handlers/announce/pause", headers=headers)

    assert answer.status_code == status


async def test_a_session_ends_after_half_a_day(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the browser does: the server looks at its own clock."""
    await logged_in(web)

    for hours, is_in in ((11, True), (13, False)):
        monkeypatch.setattr(browser_sessions, "time", lambda hours=hours: time() + hours * HOUR)
        assert await has_session(web) == is_in


async def test_whoever_logs_out_is_out_and_so_is_a_copy_of_the_cookie(web: Web) -> None:
    """Others stay in."""
    other = (await logged_in(web)).cookies[NAME]
    copy = (await logged_in(web)).cookies[NAME]

    out = await web.client.delete("/page/session", headers=ORIGIN)

    assert (out.status_code, web.client.cookies.get(NAME)) == (204, None)
    assert not await has_session(web)
    assert not await has_session(web, copy)
    assert await has_session(web, other)


async def test_no_other_cookie_opens_anything(web: Web) -> None:
    """None that was made up, or whose end was put off.

    Another token ends all browser_sessions, at all processes: what to do when a cookie was stolen.
    """
    cookie = (await logged_in(web)).cookies[NAME]
    expires, nonce, signature = cookie.split(".")
    longer, cut = f"{int(expires) + HOUR}.{nonce}.{signature}", cookie[:-1]
    for other in ("", ".", "x.y.z", longer, cut):
        assert not await has_session(web, other), other
    assert await has_session(web, cookie)

    web.app.state.sessions = browser_sessions.Sessions("an0ther-t0ken-of-the-operator")

    assert not await has_session(web, cookie)
