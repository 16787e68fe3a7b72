"""The lines that are printed of what happens, also of what has no line of its own yet."""

from dataclasses import dataclass

import pytest
from aftercommit import Handlers, on
from aftercommit.extensions.console_reporter import ConsoleReporter

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import Command, RecordBounce, RegisterUser
from allocation.domain.events import UserId, UserRegistered
from allocation.entrypoints.app import APP
from allocation.entrypoints.console_texts import MESSAGES
from allocation.service_layer.handlers import (
    record_bounce,
    refresh_user_view,
    register_user,
    send_welcome_email,
)
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import a_registration, a_user_id
from tests.email_senders import RecordingEmailSender


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptUser(Command):
    """A command that no line is written for."""

    user_id: UserId
    name: str


async def adopt_user(command: AdoptUser, uow: UnitOfWork) -> None:
    """Do what no line is written for."""
    await register_user(a_registration(user_id=command.user_id, name=command.name), uow)


async def send_letter(event: UserRegistered) -> None:
    """Do what no line is written for."""


async def welcome_vip(event: UserRegistered, uow: UnitOfWork) -> None:
    """Do nothing, as this user is none."""


NEW = Handlers(
    commands=[
        on(AdoptUser, adopt_user),
        on(RegisterUser, register_user),
        on(RecordBounce, record_bounce),
    ],
    events=[on(UserRegistered, send_letter, send_welcome_email, welcome_vip, refresh_user_view)],
)


@pytest.mark.anyio
async def test_a_new_command_or_handler_is_printed_in_the_words_of_its_name(
    app_settings: Settings, emails: RecordingEmailSender
) -> None:
    """A developer who adds a use case need not think of the output.

    A handler that did nothing, or refreshed a read model, has no line.
    """
    lines: list[str] = []
    words = {"sent": " sent", "kept": ""}
    reporter = ConsoleReporter(lines.append, MESSAGES, application=APP.name, words=words)
    command = AdoptUser(user_id=a_user_id(), name="a secret")

    opening = bootstrap(APP, app_settings, handlers=NEW, notifications=emails, observers=[reporter])
    async with opening as app:
        for _ in range(2):
            await app.bus.handle(command)

    adopted, *followed, again = lines
    letter, welcome = sorted(followed)
    assert adopted == f"[Allocation]     adopt user {command.user_id}"
    assert letter.startswith("[Allocation]     send letter ")
    assert welcome == "[Email Service]  welcome e-mail sent to ivan@example.com"
    assert again == f"{adopted}; no event followed"
    assert "secret" not in "".join(lines)
