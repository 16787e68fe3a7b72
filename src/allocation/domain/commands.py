"""The commands: orders to this service, in the imperative. Anybody may import this module.

A command has exactly one handler and may be refused. The caller makes the ids, so that a command
returns nothing and can safely be repeated. Fields are plain values, which the model checks.
"""

from dataclasses import dataclass, field
from uuid import UUID

from allocation.domain.events import UserId


class Command:
    """Base of all commands."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterUser(Command):
    """Register a new user. Repeating it, while the user has the same data, changes nothing."""

    user_id: UserId
    name: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportUsers(Command):
    """Register all users of a list, or none. Users who exist with the same name do not change."""

    users: tuple[RegisterUser, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEmail(Command):
    """Give a user another e-mail address."""

    user_id: UserId
    new_email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBounce(Command):
    """Record that an address does not exist. If the user has another by now, change nothing."""

    user_id: UserId
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCouponBatch(Command):
    """Make `quantity` more welcome coupons available, in a batch with its own reference."""

    reference: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeemCoupon(Command):
    """Redeem a coupon. Repeating the same redemption changes nothing."""

    redemption_id: UUID
    code: str = field(repr=False)
