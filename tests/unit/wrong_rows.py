"""Rows that cannot work: mypy has to report each line that has a `type: ignore` here."""

from datetime import timedelta

from allocation.domain.commands import RegisterUser
from allocation.domain.events import CouponRedeemed, Event, UserRegistered
from allocation.service_layer.handler_table import Later, Unsubscribed, on
from allocation.service_layer.unit_of_work import UnitOfWork


async def welcome(event: UserRegistered, uow: UnitOfWork) -> None:
    """Handle one event."""


async def note(event: UserRegistered | CouponRedeemed) -> None:
    """Handle two."""


async def publish(event: Event) -> None:
    """Handle any."""


async def count(event: UserRegistered) -> int:
    """Return what is no command."""
    return 1


def forget_the_async(event: UserRegistered) -> None:
    """Have an effect before anybody can notice."""


async def register(command: RegisterUser, uow: UnitOfWork) -> None:
    """Handle a command."""


DAY = timedelta(days=1)

on(UserRegistered, welcome, note, publish, Later(welcome, after=DAY), Unsubscribed(note))
on(CouponRedeemed, note, publish, Later(note, after=lambda settings: 7.0))
on(RegisterUser, register)

on(CouponRedeemed, welcome)  # type: ignore[arg-type]
on(CouponRedeemed, Later(welcome, after=DAY))  # type: ignore[arg-type]
on(CouponRedeemed, Unsubscribed(welcome))  # type: ignore[arg-type]
on(UserRegistered, count)  # type: ignore[arg-type]
on(UserRegistered, forget_the_async)  # type: ignore[arg-type]
on(UserRegistered, register)  # type: ignore[arg-type]
on(RegisterUser, welcome)  # type: ignore[arg-type]
on(UserRegistered, Later(welcome, after="a day"))  # type: ignore[arg-type]
