"""Build test data, stating only what matters."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from allocation.domain.commands import (
    AddCouponBatch,
    ChangeEmail,
    ImportUsers,
    RedeemCoupon,
    RegisterUser,
)
from allocation.domain.coupons import BatchReference, Coupon, CouponBatch, CouponCode
from allocation.domain.events import UserId
from allocation.domain.users import User
from allocation.domain.values import EmailAddress, PersonName

TODAY = datetime(2026, 1, 1, tzinfo=UTC).date()


def a_user_id() -> UserId:
    return UserId(uuid4())


def a_user(*, email: str = "ivan@example.com", name: str = "Иван") -> User:
    return User.register(a_user_id(), PersonName(name), EmailAddress(email))


def a_coupon_batch(*, quantity: int = 10, reference: str = "WELCOME") -> CouponBatch:
    return CouponBatch(BatchReference(reference), quantity)


def a_coupon(*, code: str = "WELCOME-x7", user_id: UserId | None = None) -> Coupon:
    reference, _, _ = code.partition("-")
    return Coupon(user_id or a_user_id(), CouponCode(code), BatchReference(reference))


def a_registration(
    *, email: str = "ivan@example.com", name: str = "Иван", user_id: UserId | None = None
) -> RegisterUser:
    return RegisterUser(user_id=user_id or a_user_id(), name=name, email=email)


def a_change(user: RegisterUser, *, new_email: str = "new@example.com") -> ChangeEmail:
    return ChangeEmail(user_id=user.user_id, new_email=new_email)


def a_batch(*, quantity: int = 10, reference: str = "WELCOME") -> AddCouponBatch:
    return AddCouponBatch(reference=reference, quantity=quantity)


def a_redemption(code: str, redemption_id: UUID | None = None) -> RedeemCoupon:
    return RedeemCoupon(redemption_id=redemption_id or uuid4(), code=code)


def an_import(*rows: tuple[str, str]) -> ImportUsers:
    """Make the command of a list with these names and addresses."""
    return ImportUsers(users=tuple(a_registration(name=name, email=email) for name, email in rows))
