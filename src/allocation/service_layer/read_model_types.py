"""The read models: what lists and answers show, declared here once.

`adapters/orm.py` has the table with these columns, and the query that fills it.
"""

from dataclasses import dataclass
from uuid import UUID

from allocation.domain.coupons import CouponState


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponBatchRow:
    """A coupon batch, and how many coupons are left."""

    reference: str
    quantity: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A user and the coupon, if there is one."""

    user_id: UUID
    name: str
    email: str
    email_undeliverable: bool
    coupon_code: str | None
    coupon_state: CouponState | None
