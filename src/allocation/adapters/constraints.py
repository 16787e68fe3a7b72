"""What a violated constraint of a table means, where it is a rule that only the database can check.

Others are conflicts, which a fresh unit of work resolves.
"""

from collections.abc import Callable, Collection, Iterator

from allocation.domain.coupons import Coupon, CouponAlreadyAllocated
from allocation.domain.error_kinds import RuleViolation
from allocation.domain.user_imports import UserImport
from allocation.domain.users import EmailAlreadyRegistered, User

Refusal = tuple[str, str, RuleViolation]  # a pattern of the constraint, the value, what they mean


def _addresses(seen: Collection[object]) -> Iterator[Refusal]:
    """Of an import, nobody knows which row it was: run again, it finds the address known."""
    if not any(isinstance(entity, UserImport) for entity in seen):
        for user in (entity for entity in seen if isinstance(entity, User)):
            yield "email_key", repr(user.email.key), EmailAlreadyRegistered(user.email)


def _coupons(seen: Collection[object]) -> Iterator[Refusal]:
    for coupon in (entity for entity in seen if isinstance(entity, Coupon)):
        refusal = CouponAlreadyAllocated(coupon.user_id)
        yield r"uq_coupons_user_id|coupons\.user_id", coupon.user_id.hex, refusal


REFUSALS: list[Callable[[Collection[object]], Iterator[Refusal]]] = [_addresses, _coupons]
"""Functions of what a transaction has seen. They are asked before it is flushed."""
