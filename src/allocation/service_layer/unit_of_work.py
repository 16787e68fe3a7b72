"""What a handler may change: the repositories of this application, in one transaction.

The engine opens the transaction for each attempt, and commits it when the handler has returned.
"""

from aftercommit import AggregateStore, Repository

from allocation.domain.coupons import Coupon, CouponNotFound
from allocation.domain.events import Event
from allocation.service_layer import ports


class UnitOfWork:
    """What a handler may change. A new aggregate needs one line here, and its table."""

    def __init__(
        self,
        store: AggregateStore,
        *,
        users: ports.Users,
        registration_log: ports.RegistrationLog,
        user_view: ports.UserProjection,
    ) -> None:
        self._store = store
        self.users = users
        self.coupon_batches = ports.CouponBatches(store)
        self.coupons = Repository(store, Coupon, CouponNotFound)
        self.registration_log = registration_log
        self.user_view = user_view

    def record(self, event: Event, *, subject: object) -> None:
        """Record an event that no aggregate can record; `subject` is what it is about."""
        self._store.record(event, subject=subject)
