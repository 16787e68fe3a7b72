"""Rows that cannot work: mypy has to report each line that has a `type: ignore` here."""

from datetime import timedelta

from aftercommit.codec import Codec
from aftercommit.envelopes import message_types
from aftercommit.handler_table import PUBLISH, Handlers, Later, Unsubscribed, on

from allocation.domain import commands, events
from allocation.domain.commands import ChangeEmail, Command, RegisterUser
from allocation.domain.events import CouponRedeemed, Event, UserRegistered
from allocation.service_layer.unit_of_work import UnitOfWork


async def welcome(event: UserRegistered, uow: UnitOfWork) -> None:
    """Handle one event."""


async def note(event: UserRegistered | CouponRedeemed) -> None:
    """Handle two."""


async def publish(event: Event) -> None:
    """Handle any."""


async def ask(event: UserRegistered) -> ChangeEmail | None:
    """Return a command, or not."""


async def count(event: UserRegistered) -> int:
    """Return what is no command."""
    return 1


async def echo(event: UserRegistered) -> UserRegistered:
    """Return what is no command, but an event."""
    return event


def forget_the_async(event: UserRegistered) -> None:
    """Have an effect before anybody can notice."""


async def register(command: RegisterUser, uow: UnitOfWork) -> None:
    """Handle a command."""


async def register_and_ask(command: RegisterUser, uow: UnitOfWork) -> ChangeEmail:
    """Return a command from the handler of a command, which nobody would execute."""
    return ChangeEmail(user_id=command.user_id, new_email=command.email)


DAY = timedelta(days=1)

HANDLERS: Handlers[Command, Event] = Handlers(
    commands=[on(RegisterUser, register), on(ChangeEmail)],
    events=[
        on(
            UserRegistered,
            welcome,
            note,
            publish,
            ask,
            Later(welcome, after=DAY),
            Later(ask, after=DAY),
            Unsubscribed(note),
            PUBLISH,
        ),
        on(CouponRedeemed, note, publish, Later(note, after=lambda settings: 7.0)),
        on(events.CouponDenied),
    ],
)
EVENTS: Codec[Event] = Codec(source="/it", events=message_types(events, Event))

on(CouponRedeemed, welcome)  # type: ignore[arg-type]
on(CouponRedeemed, Later(welcome, after=DAY))  # type: ignore[arg-type]
on(CouponRedeemed, Unsubscribed(welcome))  # type: ignore[arg-type]
on(UserRegistered, forget_the_async)  # type: ignore[arg-type]
on(UserRegistered, register)  # type: ignore[arg-type]
on(RegisterUser, welcome)  # type: ignore[arg-type]
on(UserRegistered, Later(welcome, after="a day"))  # type: ignore[arg-type]

WRONG: Handlers[Command, Event] = Handlers(
    commands=[
        on(UserRegistered, welcome),  # type: ignore[list-item]
        on(ChangeEmail, register),  # type: ignore[arg-type]
        on(RegisterUser, register_and_ask),  # type: ignore[arg-type]
    ],
    events=[
        on(RegisterUser, register),  # type: ignore[list-item]
        on(CouponRedeemed, welcome),  # type: ignore[arg-type]
        on(UserRegistered, count),  # type: ignore[arg-type]
        on(UserRegistered, echo),  # type: ignore[arg-type]
        on(UserRegistered, Later(count, after=DAY)),  # type: ignore[arg-type]
        on(UserRegistered, Unsubscribed(count)),  # type: ignore[arg-type]
    ],
)
EXCHANGED: Handlers[Event, Command] = HANDLERS  # type: ignore[assignment]
COMMANDS: Codec[Event] = Codec(
    source="/it",
    events=message_types(commands, Command),  # type: ignore[arg-type]
)
OF_COMMANDS: Codec[Command] = EVENTS  # type: ignore[assignment]
