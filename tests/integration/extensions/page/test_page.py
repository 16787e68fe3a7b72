"""The page's other endpoints: who is let in, and what may be asked."""

from pathlib import Path

import pytest
from aftercommit.extensions.page.routes import router
from fastapi.routing import APIRoute

from allocation.service_layer import handlers
from tests.integration.extensions.web.conftest import Web
from tests.web import OPERATOR, TOKEN

pytestmark = pytest.mark.anyio

OPEN = {("GET", "/"), ("POST", "/page/session")}
HANDLERS = Path(handlers.__file__).read_text("utf-8").splitlines()
ORIGIN = {"Origin": "http://localhost"}


async def enter(web: Web) -> None:
    """Get the cookie, which the client then sends by itself."""
    answer = await web.client.post("/page/session", json={"token": TOKEN})
    assert answer.status_code == 204


async def test_all_data_need_the_token_or_the_cookie(web: Web) -> None:
    """It is asked of the router what there is; the rest has no data in it."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    ways = {(method, route.path) for route in routes for method in route.methods or ()}
    assert ways >= OPEN
    for method, path in ways - OPEN:
        answer = await web.client.request(method, path)
        assert answer.status_code == 401, path
    await enter(web)

    assert (await web.client.get("/page/handler-map")).status_code == 200


async def test_the_token_becomes_a_cookie(web: Web) -> None:
    """One that no script can read, that other sites cannot send, and that is not the token."""
    answer = await web.client.post("/page/session", json={"token": TOKEN})

    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert cookie.startswith("allocation-=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {*cookie.split("; ")}
    assert "Secure" not in cookie
    headers = {"X-Forwarded-Proto": "https"}
    answer = await web.client.post("/page/session", json={"token": TOKEN}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_code_lets_one_browser_in_and_is_no_token(web: Web) -> None:
    """It stands in a link, and links are stored, shown and sent."""
    code = web.app.state.sessions.new_code()
    bearer = {"Authorization": f"Bearer {code}"}

    assert (await web.client.get("/page/handler-map", headers=bearer)).status_code == 401
    assert (await web.client.post("/page/session", json={"token": code})).status_code == 204
    assert (await web.client.get("/page/handler-map")).status_code == 200
    assert (await web.client.post("/page/session", json={"token": code})).status_code == 401
    assert (await web.client.get("/", params={"token": TOKEN})).cookies == {}


async def test_another_token_opens_nothing(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """And neither is in the log."""
    with caplog.at_level("DEBUG"):
        answers = [
            await web.client.post("/page/session", json={"token": "wr0ng-but-secret"}),
            await web.client.post("/page/session", json={"token": TOKEN + "x"}),
        ]
        right = await web.client.post("/page/session", json={"token": TOKEN})
        await enter(web)

    assert [answer.status_code for answer in answers] == [401, 401]
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert right.status_code == 204
    assert "set-cookie" in right.headers
    ours = "".join(
        r.getMessage() for r in caplog.records if r.name.startswith(("aftercommit", "allocation"))
    )
    assert "POST '/page/session': 401" in ours
    assert "wr0ng" not in ours
    assert TOKEN not in ours


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
        (OPERATOR, 200),  # whoever knows the token needs no cookie
        ({"Authorization": "Bearer another-token-entirely"}, 401),
    ],
)
async def test_a_cookie_changes_something_only_from_this_page(
    web: Web, headers: dict[str, str], status: int
) -> None:
    """The page of another port of this host is on the same site, and would send the cookie."""
    await enter(web)

    answer = await web.client.delete("/handlers/send_welcome_email/pause", headers=headers)

    assert answer.status_code == status


async def test_the_page_has_no_script_in_it_and_allows_none(web: Web) -> None:
    """Nor a style; nobody frames it, and nobody else is asked for anything."""
    answer = await web.client.get("/")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "<!-- panels -->" not in answer.text


async def test_other_scripts_may_be_put_into_the_page(web: Web) -> None:
    """As modules of this server, whose addresses are only addresses."""
    web.app.state.panels.append('/panel.js?a="&b')

    page = (await web.client.get("/")).text

    assert '<script type="module" src="/panel.js?a=&quot;&amp;b"></script>' in page
    assert '<aside id="panel" hidden>' in page


async def test_files_are_sent_once(web: Web) -> None:
    """A browser that has one asks whether it is still the same."""
    first = await web.client.get("/page/assets/page.js")
    again = await web.client.get(
        "/page/assets/page.js", headers={"If-None-Match": first.headers["etag"]}
    )

    assert first.headers["content-type"].startswith("text/javascript")
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    for name in ("nothing.js", "..%2Fhttp.py", "%2Fetc%2Fpasswd"):
        assert (await web.client.get(f"/page/assets/{name}")).status_code == 404


async def test_the_map_is_the_wiring_of_the_running_program(web: Web) -> None:
    """With the words and the place of each handler in the source."""
    wiring = (await web.get("/page/handler-map")).json()

    assert wiring["commands"]["register_user"] == ["register_user"]
    assert "send_welcome_email" in wiring["events"]["user_registered"]
    welcome = wiring["handlers"]["send_welcome_email"]
    assert (welcome["uow"], welcome["outside"]) == (False, ["user_mail"])
    assert welcome["about"] == "Greet the new user."
    file, _, line = welcome["place"].partition(":")
    assert file == "allocation/service_layer/handlers.py"
    assert "def send_welcome_email" in HANDLERS[int(line) - 1]
    assert welcome["source"].splitlines()[0] == HANDLERS[int(line) - 1]
    assert wiring["handlers"].keys() >= {"register_user", *web.application.bus.registry.events}
