"""The unit of work of this application, in a database."""

from collections.abc import Sequence

from aftercommit import Refusals, Transaction

from allocation.adapters import repositories
from allocation.domain.coupons import Coupon, CouponAlreadyAllocated
from allocation.domain.users import EmailAlreadyRegistered, User
from allocation.service_layer.unit_of_work import UnitOfWork


class SqlAlchemyUnitOfWork(UnitOfWork):
    """The repositories, and what the engine calls at the commit."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(
            transaction,
            users=repositories.SqlAlchemyUsers(transaction),
            registration_log=repositories.SqlAlchemyRegistrationLog(transaction),
            user_view=repositories.SqlAlchemyUserProjection(transaction),
        )

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return the rules that only the database can check, by the name of the constraint.

        With many users, it is unknown which one violated it: then it is a conflict, which a fresh
        unit of work resolves, because it finds the address.
        """
        meanings: dict[str, Exception] = {}
        match [entity for entity in seen if isinstance(entity, User)]:
            case [user]:
                meanings["uq_users_email_key"] = EmailAlreadyRegistered(user.email)
        match [*{entity.user_id for entity in seen if isinstance(entity, Coupon)}]:
            case [user_id]:
                meanings["uq_coupons_user_id"] = CouponAlreadyAllocated(user_id)
        return meanings
