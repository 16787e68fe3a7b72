"""The bodies of requests and responses of the HTTP API. The domain checks their texts."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from allocation.domain.coupons import MAX_QUANTITY, BatchReference, CouponCode, CouponState
from allocation.domain.values import MAX_DECOMPOSED, EmailAddress, PersonName, Text


def checked_by(rule: Callable[[str], Text]) -> AfterValidator:
    """Let a value object check a text, and return it as it is stored."""
    return AfterValidator(lambda text: rule(text).value)


def integral_float(number: object) -> object:
    """Return 100.0 as 100: JSON knows only one kind of numbers."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


ID = "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"
Name = Annotated[
    str,
    Field(description="One line in any script, with a letter or digit in it.", examples=["Иван"]),
    Field(max_length=MAX_DECOMPOSED * PersonName.longest),
    Field(json_schema_extra={"format": "person-name", "maxLength": PersonName.longest}),
    checked_by(PersonName),
]
NO_ENCODED_WORD = {"pattern": r"=\?"}  # would be decoded in the header of an e-mail
Address = Annotated[
    str,
    Field(description="Compared case-insensitively.", examples=["ivan@example.com"]),
    Field(max_length=MAX_DECOMPOSED * EmailAddress.longest),
    Field(json_schema_extra={"format": "idn-email", "maxLength": EmailAddress.longest}),
    Field(json_schema_extra={"not": NO_ENCODED_WORD}),
    checked_by(EmailAddress),
]
Reference = Annotated[
    str,
    Field(description="The text with which every code of the batch begins.", examples=["WELCOME"]),
    Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"),
    checked_by(BatchReference),
]
Code = Annotated[
    str,
    Field(description="A secret, which no log contains.", examples=["WELCOME-0123456789ABCDEF"]),
    Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$"}),
    checked_by(CouponCode),
]
HowMany = Annotated[
    int,
    Field(strict=True, ge=1, le=MAX_QUANTITY, examples=[100]),
    BeforeValidator(integral_float),
]


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
    coupon_state: CouponState | None = None
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
