"""The page's other endpoints: who is let in, what may be asked, and what a person decides."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi.routing import APIRoute

from allocation.adapters import orm
from allocation.extensions.page.routes import MAX_DECISIONS, router
from allocation.service_layer import handlers
from tests.integration.extensions.page.conftest import Viewer
from tests.integration.extensions.web.conftest import Web
from tests.web import OPERATOR, TOKEN, stored

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
        answer = await web.client.request(method, path.replace("{about:path}", str(uuid4())))
        assert answer.status_code == 401, path
    await enter(web)

    assert (await web.client.get("/page/session")).status_code == 204


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

    assert (await web.client.get("/page/session", headers=bearer)).status_code == 401
    assert (await web.client.post("/page/session", json={"token": code})).status_code == 204
    assert (await web.client.get("/page/session")).status_code == 204
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
    ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("allocation"))
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

    nothing = {"action": "retry", "deliveries": []}
    answer = await web.client.post("/page/decisions", json=nothing, headers=headers)

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


async def test_a_trace_is_found_by_an_address_or_any_id(web: Web) -> None:
    """As a link that was sent to a colleague leads there, however old it is."""
    registered = await web.register()
    trace = registered.headers["x-request-id"]

    for about in (trace, trace[:8], registered.json()["user_id"], "IVAN@example.com"):
        [found] = (await web.get(f"/page/traces/{about}")).json()
        assert found["id"] == trace
        assert [node["kind"] for node in found["nodes"]] == ["command", "event", *["delivery"] * 4]
    assert (await web.get(f"/page/traces/{uuid4()}")).json() == []
    assert (await web.get("/page/traces/everything")).status_code == 422


async def test_the_map_is_the_wiring_of_the_running_program(web: Web) -> None:
    """With the words and the place of each handler in the source."""
    wiring = (await web.get("/page/handler-map")).json()

    assert wiring["commands"]["register_user"] == ["register_user"]
    assert "send_welcome_email" in wiring["events"]["user_registered"]
    welcome = wiring["handlers"]["send_welcome_email"]
    assert (welcome["uow"], welcome["outside"]) == (False, ["user_mail"])
    assert welcome["about"] == "Greet the new user."
    file, _, line = welcome["place"].partition(":")
    assert file == "service_layer/handlers.py"
    assert "def send_welcome_email" in HANDLERS[int(line) - 1]
    assert welcome["source"].splitlines()[0] == HANDLERS[int(line) - 1]
    assert wiring["handlers"].keys() >= {"register_user", *web.application.bus.registry.events}


async def outstanding(web: Web) -> list[list[str]]:
    rows = (await web.get("/deliveries")).json()
    return [[row["event_id"], row["handler"]] for row in rows]


async def decide(web: Web, action: str, deliveries: list[list[str]]) -> httpx.Response:
    content = {"action": action, "deliveries": deliveries}
    return await web.client.post("/page/decisions", json=content, headers=OPERATOR)


async def test_what_is_decided_is_done_and_logged(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """Of one delivery or several; what is done by now is left out."""
    await web.register()
    keys = await outstanding(web)
    with caplog.at_level("INFO"):
        answers = [
            await decide(web, "retry", keys),
            await decide(web, "discard", keys[:3]),
            await decide(web, "discard", keys),
        ]

    assert [answer.json() for answer in answers] == [{"done": 4}, {"done": 3}, {"done": 1}]
    rows = await stored(web.application.database, orm.deliveries)
    assert all(row.discarded_at for row in rows)
    told = [record.message for record in caplog.records if "by hand" in record.message]
    assert f"retry of {keys[0][1]} for event {keys[0][0]}, by hand, from 127.0.0.1" in told
    assert len(told) == 8


async def test_a_handler_is_paused_and_resumed(web: Web) -> None:
    """With who it was; an unknown one is refused."""
    name = "send_welcome_email"

    async def decided(action: str, handler: str) -> httpx.Response:
        content = {"action": action, "handler": handler}
        return await web.client.post("/page/pauses", json=content, headers=OPERATOR)

    await web.register()
    assert (await decided("pause", name)).json() == {"done": 1}
    viewer = Viewer(web)
    await viewer.until(lambda _: viewer.outstanding.get("pauses"))
    [paused] = viewer.outstanding["pauses"]
    assert (paused["handler"], paused["paused_by"]) == (name, "operator@127.0.0.1")
    states = {row["handler"]: row["state"] for row in (await web.get("/deliveries")).json()}
    assert states[name] == "paused"
    assert (await decided("pause", name)).json() == {"done": 0}

    assert (await decided("resume", name)).json() == {"done": 1}
    assert (await decided("pause", "nobody")).status_code == 422
    assert await stored(web.application.database, orm.handler_pauses) == []


async def test_what_cannot_be_decided_is_refused(web: Web) -> None:
    """Before anything is done."""
    await web.register()
    [key, *_] = await outstanding(web)
    wrong = [
        ("forget", [key]),
        ("retry", [["no id", key[1]]]),
        ("retry", [[key[0], "rm -rf /"]]),
        ("retry", [key] * (MAX_DECISIONS + 1)),
    ]

    assert [(await decide(web, *each)).status_code for each in wrong] == [422] * 4
