"""The API about coupons: redeemed once, by a code that is in the body only."""

import logging

import pytest

from allocation.adapters import orm
from allocation.config import Settings
from tests.integration.extensions.web.conftest import Web, running_web
from tests.web import OPERATOR, stored

pytestmark = pytest.mark.anyio

BATCH = {"reference": "WELCOME", "quantity": 10}


async def a_code(settings: Settings) -> str:
    """Return the code of a coupon that somebody has."""
    async with running_web(settings) as web:
        await web.client.post("/coupon-batches", json=BATCH, headers=OPERATOR)
        await web.register_user()
    async with running_web(settings) as web:
        [coupon] = await stored(web.application.database, orm.coupons)
    return str(coupon.code.value)


async def test_a_coupon_is_redeemed_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A key recognizes a repetition; whoever comes without it is told that it is too late."""
    caplog.set_level(logging.DEBUG, "aftercommit")
    caplog.set_level(logging.DEBUG, "allocation")
    code, keyed = await a_code(settings), OPERATOR | {"Idempotency-Key": "k1"}
    async with running_web(settings) as web:
        answers = [
            await web.client.post("/coupon-redemptions", json={"code": code}, headers=headers)
            for headers in (keyed, keyed, OPERATOR)
        ]
        [user] = (await web.get("/users")).json()

    assert [answer.status_code for answer in answers] == [204, 204, 409]
    assert answers[-1].json()["type"].endswith(":coupon-already-redeemed")
    assert (user["coupon_code"], user["coupon_state"]) == (code, "redeemed")
    assert code not in caplog.text + answers[-1].text


async def test_whoever_knows_no_code_and_no_token_redeems_nothing(web: Web) -> None:
    """Codes could be tried."""
    guess = {"code": "WELCOME-1"}
    stranger = await web.client.post("/coupon-redemptions", json=guess)
    unknown = await web.client.post("/coupon-redemptions", json=guess, headers=OPERATOR)
    malformed = await web.client.post("/coupon-redemptions", json={"code": ""}, headers=OPERATOR)

    assert (stranger.status_code, unknown.status_code, malformed.status_code) == (401, 404, 422)
    assert unknown.json()["type"].endswith(":coupon-not-found")
    assert "WELCOME-1" not in unknown.text
