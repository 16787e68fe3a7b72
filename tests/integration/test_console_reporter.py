"""The lines that are printed of what happens, also of what is new in an application."""

from dataclasses import dataclass

import pytest
from aftercommit import Handlers, on
from aftercommit.extensions.console_reporter import ConsoleReporter

from allocation.bootstrap import bootstrap, describe
from allocation.config import Settings
from allocation.domain.commands import Command, RecordBounce
from allocation.domain.events import UserId, UserRegistered
from allocation.entrypoints.app import APP
from allocation.service_layer.handlers import record_bounce, register_user, send_welcome_email
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import a_registration, a_user_id
from tests.email_senders import RecordingEmailSender


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptUser(Command):
    """A command that nobody has told the reporter about."""

    user_id: UserId
    name: str
    password: str


async def adopt_user(command: AdoptUser, uow: UnitOfWork) -> None:
    """Do something new."""
    await register_user(a_registration(user_id=command.user_id, name=command.name), uow)


NEW = Handlers(
    commands=[on(AdoptUser, adopt_user), on(RecordBounce, record_bounce)],
    events=[on(UserRegistered, send_welcome_email)],
)


@pytest.mark.anyio
async def test_a_new_command_or_handler_is_printed_with_what_it_has_caused(
    app_settings: Settings, emails: RecordingEmailSender
) -> None:
    """A developer who adds a use case need not think of the output."""
    lines: list[str] = []
    reporter = ConsoleReporter(lines.append, describe=describe)
    command = AdoptUser(user_id=a_user_id(), name="Иван", password="a secret")

    opening = bootstrap(APP, app_settings, handlers=NEW, notifications=emails, observers=[reporter])
    async with opening as app:
        for _ in range(2):
            await app.bus.handle(command)

    assert lines == [
        f"AdoptUser                Иван → UserRegistered {command.user_id}",
        "send_welcome_email       Иван <ivan@example.com>",
        "AdoptUser                Иван → no event",
    ]
