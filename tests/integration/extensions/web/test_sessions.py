"""The cookie of a browser: another one at each log-in, for half a day, and gone when wanted."""

from time import time

import httpx
import pytest
from aftercommit.extensions.web import sessions

from tests.integration.extensions.web.conftest import Web
from tests.web import TOKEN

pytestmark = pytest.mark.anyio

ORIGIN = {"Origin": "http://localhost"}
HOUR = 3600


async def logged_in(web: Web, **headers: str) -> httpx.Response:
    """Log in, and return the answer; the client keeps its cookie."""
    web.client.cookies.clear()
    answer = await web.client.post("/page/session", json={"token": TOKEN}, headers=headers)
    assert answer.status_code == 204
    return answer


def cookie_of(answer: httpx.Response) -> str:
    [(_, value)] = answer.cookies.items()
    return value


async def has_session(web: Web) -> bool:
    return (await web.client.get("/page/handler-map")).status_code == 200


async def test_each_log_in_has_a_cookie_of_its_own(web: Web) -> None:
    """One that was seen somewhere says nothing of others, nor of the token."""
    cookies = {cookie_of(await logged_in(web)) for _ in range(3)}

    assert len(cookies) == 3
    assert not any(TOKEN in cookie for cookie in cookies)


async def test_a_session_ends_after_half_a_day(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the browser does: the server looks at its own clock."""
    answer = await logged_in(web)
    assert "Max-Age=43200" in answer.headers["set-cookie"]

    monkeypatch.setattr(sessions, "time", lambda: time() + 11 * HOUR)
    assert await has_session(web)
    monkeypatch.setattr(sessions, "time", lambda: time() + 13 * HOUR)
    assert not await has_session(web)


async def test_whoever_logs_out_is_out_and_so_is_a_copy_of_the_cookie(web: Web) -> None:
    """Others stay in."""
    other = cookie_of(await logged_in(web))
    answer = await logged_in(web)
    name, copy = next(iter(answer.cookies.items()))

    out = await web.client.delete("/page/session", headers=ORIGIN)

    assert (out.status_code, web.client.cookies.get(name)) == (204, None)
    assert not await has_session(web)
    web.client.cookies.set(name, copy)
    assert not await has_session(web)
    web.client.cookies.clear()
    web.client.cookies.set(name, other)
    assert await has_session(web)


async def test_another_token_ends_all_sessions(web: Web) -> None:
    """At all processes, and copies, too: what to do when a cookie was stolen."""
    await logged_in(web)
    assert await has_session(web)

    web.app.state.sessions = sessions.Sessions("an0ther-t0ken-of-the-operator")

    assert not await has_session(web)


@pytest.mark.parametrize("change", ["", ".", "x.y.z", "longer life", "another end"])
async def test_a_cookie_that_was_made_up_opens_nothing(web: Web, change: str) -> None:
    """Nor one whose end was put off."""
    name, value = next(iter((await logged_in(web)).cookies.items()))
    expires, nonce, signature = value.split(".")
    forged = {
        "longer life": f"{int(expires) + HOUR}.{nonce}.{signature}",
        "another end": f"{expires}.{nonce}.{signature[:-1]}",
    }.get(change, change)
    web.client.cookies.clear()
    web.client.cookies.set(name, forged)

    assert not await has_session(web)


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "https, http"])
async def test_behind_tls_the_cookie_goes_over_nothing_else(web: Web, scheme: str) -> None:
    """However proxies spell it."""
    secure = await logged_in(web, **{"X-Forwarded-Proto": scheme})

    assert "; Secure" in secure.headers["set-cookie"]
    assert "; Secure" not in (await logged_in(web)).headers["set-cookie"]
