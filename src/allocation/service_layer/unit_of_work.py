"""What a handler may change: the repositories of this application, in one transaction.

The engine opens the transaction for each attempt, and commits it when the handler has returned: see
`commit.py`.
"""

from allocation.domain.coupons import Coupon, CouponNotFound
from allocation.service_layer import ports, repositories
from allocation.service_layer.repository import AggregateStore, Repository


class UnitOfWork:
    """What a handler may change. A new aggregate needs one line here, and its table."""

    def __init__(
        self,
        store: AggregateStore,
        *,
        users: repositories.Users,
        coupon_batches: repositories.CouponBatches,
        registration_log: ports.RegistrationLog,
        user_view: ports.UserProjection,
    ) -> None:
        self._store = store
        self.users = users
        self.user_imports = repositories.UserImports(store)
        self.coupon_batches = coupon_batches
        self.coupons = Repository(store, Coupon, CouponNotFound)
        self.registration_log = registration_log
        self.user_view = user_view
