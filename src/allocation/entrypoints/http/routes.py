"""The endpoints about users and their coupons."""

from importlib.resources import files
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from aftercommit.extensions.web.endpoints import OF_BODIES, Execution, Running, errors
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from allocation.domain import coupons, users
from allocation.domain.commands import (
    AddCouponBatch,
    ChangeEmail,
    RedeemCoupon,
    RegisterUser,
)
from allocation.domain.coupons import MAX_QUANTITY, BatchReference, CouponCode, Quantity
from allocation.domain.events import UserId
from allocation.domain.values import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH, EmailAddress, PersonName
from allocation.entrypoints.http import user_queries


def integral_float(number: object) -> object:
    """Return 100.0 as 100: JSON knows only one kind of numbers."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


# values are described here, and checked by the value objects of the domain, unless they are longer
# than composing their characters could bring down to the limit
MOST = 4
ID = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
Name = Annotated[
    str,
    Field(description="One line in any script, with a letter or digit in it.", examples=["Иван"]),
    Field(max_length=MOST * MAX_NAME_LENGTH),
    Field(json_schema_extra={"format": "person-name", "maxLength": MAX_NAME_LENGTH}),
]
NO_ENCODED_WORD = {"pattern": r"=\?"}  # would be decoded in the header of an e-mail
Address = Annotated[
    str,
    Field(description="Compared case-insensitively.", examples=["ivan@example.com"]),
    Field(max_length=MOST * MAX_EMAIL_LENGTH),
    Field(json_schema_extra={"format": "idn-email", "maxLength": MAX_EMAIL_LENGTH}),
    Field(json_schema_extra={"not": NO_ENCODED_WORD}),
]
Reference = Annotated[
    str,
    Field(description="The text with which every code of the batch begins.", examples=["WELCOME"]),
    Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"}),
]
Code = Annotated[
    str,
    Field(
        description="A secret, which no log contains.",
        examples=["WELCOME-0123456789ABCDEF"],
        json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$"},
    ),
]
HowMany = Annotated[
    int,
    BeforeValidator(integral_float),
    Field(strict=True, examples=[100], json_schema_extra={"minimum": 1, "maximum": MAX_QUANTITY}),
]
FORM = files(str(__package__)).joinpath("register_form.js").read_text("utf-8")
LOCATION = {"Location": {"description": "The user.", "schema": {"type": "string"}}}
LINK = {"Link": {"description": 'The next page: rel="next".', "schema": {"type": "string"}}}

public, guarded = APIRouter(), APIRouter()  # using the second router needs the token


class Registration(BaseModel):
    """The new user. Without `user_id`, the server makes an id; with a key, always the same."""

    model_config = ConfigDict(extra="forbid")
    user_id: Annotated[UUID | None, Field(examples=[ID])] = None
    name: Name
    email: Address


class RegisteredUser(BaseModel):
    """A registered user; the coupon follows."""

    user_id: Annotated[UUID, Field(examples=[ID])]
    name: Name
    email: Address


class UserResponse(RegisteredUser):
    """A user, and the user's coupon, if there is one by now."""

    model_config = ConfigDict(from_attributes=True)
    coupon_code: Annotated[str | None, Field(examples=["WELCOME-0123456789ABCDEF"])]
    coupon_state: coupons.CouponState | None = None
    email_undeliverable: Annotated[bool, Field(description="There is no such address.")] = False


class NewEmail(BaseModel):
    """The user's new address."""

    model_config = ConfigDict(extra="forbid")
    email: Address


class CouponBatchRequest(BaseModel):
    """A batch of welcome coupons."""

    model_config = ConfigDict(extra="forbid")
    reference: Reference
    quantity: HowMany


class Redemption(BaseModel):
    """The redeemed coupon."""

    model_config = ConfigDict(extra="forbid")
    code: Code


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
    command = RegisterUser(
        user_id=UserId(registration.user_id or execution.new_id()),
        name=PersonName(registration.name).value,
        email=EmailAddress(registration.email).value,
    )
    await execution.execute(command)
    response.headers["Location"] = f"/users/{command.user_id}"
    return RegisteredUser(user_id=command.user_id, name=command.name, email=command.email)


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
    email = EmailAddress(new.email).value
    await execution.execute(ChangeEmail(user_id=UserId(user_id), new_email=email))


@guarded.post(
    "/coupon-batches",
    status_code=201,
    responses=errors(coupons.CouponBatchAlreadyAdded) | OF_BODIES,
    tags=["coupons"],
)
async def add_coupon_batch(batch: CouponBatchRequest, execution: Execution) -> CouponBatchRequest:
    """Make more welcome coupons available. Repeating it with the same quantity changes nothing."""
    reference, quantity = BatchReference(batch.reference).value, Quantity(batch.quantity).value
    await execution.execute(AddCouponBatch(reference=reference, quantity=quantity))
    return batch


@guarded.post(
    "/coupon-redemptions",
    status_code=204,
    responses=errors(coupons.CouponNotFound, coupons.CouponIsExpired, coupons.CouponAlreadyRedeemed)
    | OF_BODIES,
    tags=["coupons"],
)
async def redeem_coupon(redemption: Redemption, execution: Execution) -> None:
    """Redeem a coupon, once."""
    code = CouponCode(redemption.code).value  # in the body, because paths are logged
    await execution.execute(RedeemCoupon(redemption_id=execution.new_id(), code=code))
