"""The ports: what handlers need of the outside. A test has its own."""

from typing import Protocol

from aftercommit import IdempotencyKey


class CouponSupply(Protocol):
    """Whoever makes coupons. That is an external effect: no rollback takes it back."""

    async def order(
        self, reference: str, quantity: int, *, idempotency_key: IdempotencyKey
    ) -> None:
        """Return when the order is on its way. With the same key it is the same order."""
