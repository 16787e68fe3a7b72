"""The ports: what handlers need from external systems. Tests have their own."""

from typing import Protocol

from aftercommit import IdempotencyKey


class CouponSupply(Protocol):
    """The service that makes coupons. An order is an external effect: no rollback undoes it."""

    async def order(
        self, reference: str, quantity: int, *, idempotency_key: IdempotencyKey
    ) -> None:
        """Return when the order is sent. With the same key, it is the same order."""
