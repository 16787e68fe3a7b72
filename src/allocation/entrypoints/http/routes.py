"""The endpoints about users and their coupons."""

from importlib.resources import files
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from aftercommit.extensions.web.endpoints import OF_BODIES, Execution, Running, errors
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from allocation.domain import coupons, users
from allocation.domain.commands import (
    AddCouponBatch,
    ChangeEmail,
    RedeemCoupon,
    RegisterUser,
)
from allocation.domain.events import UserId
from allocation.domain.values import EmailAddress
from allocation.entrypoints.http import user_queries
from allocation.entrypoints.http.schemas import (
    Address,
    CouponBatchRequest,
    NewEmail,
    Redemption,
    RegisteredUser,
    Registration,
    UserResponse,
)

FORM = files(str(__package__)).joinpath("register_form.js").read_text("utf-8")
LOCATION = {"Location": {"description": "The user.", "schema": {"type": "string"}}}
LINK = {"Link": {"description": 'The next page: rel="next".', "schema": {"type": "string"}}}

public, guarded = APIRouter(), APIRouter()  # using the second router needs the token


@public.post(
    "/users",
    status_code=201,
    responses={201: {"headers": LOCATION}, **errors(users.EmailAlreadyRegistered), **OF_BODIES},
    tags=["users"],
)
async def register_user(
    registration: Registration, execution: Execution, response: Response
) -> RegisteredUser:
    """Register a user.

    The response comes when the user is stored; welcome e-mail and coupon follow.
    """
    user_id = UserId(registration.user_id or execution.new_id())
    name, email = registration.name, registration.email
    await execution.execute(RegisterUser(user_id=user_id, name=name, email=email))
    response.headers["Location"] = f"/users/{user_id}"
    return RegisteredUser(user_id=user_id, name=name, email=email)


@public.get("/register-form.js", include_in_schema=False)
async def register_form() -> PlainTextResponse:
    """Return the script with which the page registers users."""
    return PlainTextResponse(FORM, media_type="text/javascript")


@guarded.get("/users/{user_id}", responses=errors(users.UserNotFound), tags=["users"])
async def get_user(user_id: UUID, running: Running) -> UserResponse:
    """Show a user."""
    row = await user_queries.user(running.database, UserId(user_id))
    return UserResponse.model_validate(row)


@guarded.get("/users", responses={200: {"headers": LINK}}, tags=["users"])
async def list_users(
    running: Running,
    request: Request,
    response: Response,
    email: Annotated[Address | None, Query(description="Only the user with this address.")] = None,
    after: Annotated[UUID | None, Query(description="The last id of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="The most to return.")] = 50,
) -> list[UserResponse]:
    """List users by their ids, one page at a time; `Link` leads to the next page."""
    address = None if email is None else EmailAddress(email)
    rows = await user_queries.users_page(
        running.database, email=address, after=after, limit=limit + 1
    )
    if len(rows) > limit:
        page = urlencode({"after": rows[limit - 1].user_id, "limit": limit})
        response.headers["Link"] = f'<{request.url.path}?{page}>; rel="next"'
    return [UserResponse.model_validate(row) for row in rows[:limit]]


@guarded.put(
    "/users/{user_id}/email",
    status_code=204,
    responses=errors(users.UserNotFound, users.EmailAlreadyRegistered) | OF_BODIES,
    tags=["users"],
)
async def change_email(user_id: UUID, new: NewEmail, execution: Execution) -> None:
    """Give a user another e-mail address; the old one gets a notice."""
    await execution.execute(ChangeEmail(user_id=UserId(user_id), new_email=new.email))


@guarded.post(
    "/coupon-batches",
    status_code=201,
    responses=errors(coupons.CouponBatchAlreadyAdded) | OF_BODIES,
    tags=["coupons"],
)
async def add_coupon_batch(batch: CouponBatchRequest, execution: Execution) -> CouponBatchRequest:
    """Make more welcome coupons available. Repeating it with the same quantity changes nothing."""
    await execution.execute(AddCouponBatch(reference=batch.reference, quantity=batch.quantity))
    return batch


@guarded.post(
    "/coupon-redemptions",
    status_code=204,
    responses=errors(coupons.CouponNotFound, coupons.CouponIsExpired, coupons.CouponAlreadyRedeemed)
    | OF_BODIES,
    tags=["coupons"],
)
async def redeem_coupon(redemption: Redemption, execution: Execution) -> None:
    """Redeem a coupon, once."""  # the code is in the body, because paths are logged
    redemption_id = execution.new_id()
    await execution.execute(RedeemCoupon(redemption_id=redemption_id, code=redemption.code))
