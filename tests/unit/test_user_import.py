"""The import of many users with one command: each row stands or falls alone."""

import pytest
from aftercommit import Application

from allocation.adapters import orm
from allocation.domain.events import Event, UserRegistered
from allocation.user_import.model import ImportUsers, NobodyImported, RefusedRow, UsersImported
from tests.looking import count, users
from tests.making import a_registration, an_import

pytestmark = pytest.mark.anyio


async def events_of(app: Application, command: ImportUsers) -> list[Event]:
    return [envelope.event for envelope in (await app.bus.handle(command)).events]  # type: ignore[misc]


async def test_all_that_follows_a_registration_follows_an_import(app: Application) -> None:
    """Each new user has the same event, and one more says how many there were."""
    command = an_import(("Иван", "ivan@example.com"), ("Мария", "maria@example.com"))

    events = await events_of(app, command)

    registered = {e.name for e in events if isinstance(e, UserRegistered)}
    [imported] = [event for event in events if isinstance(event, UsersImported)]
    assert registered == {"Иван", "Мария"}
    assert (imported.registered, imported.refused) == (2, ())
    assert {user.name for user in (await users(app)).values()} == registered
    assert await count(app, orm.registration_log) == 2


async def test_one_bad_row_is_named_and_stops_no_other(app: Application) -> None:
    """People import thousands of users, fix the five wrong rows, and import again."""
    await app.bus.handle(a_registration(name="Пётр", email="petr@example.com"))
    command = an_import(
        ("Иван", "ivan@example.com"),
        ("Мария", "not-an-address"),
        ("Anna", "PETR@example.com"),
        ("Иван", "IVAN@example.com"),
        ("Olga", "ivan@example.com"),
    )

    events = await events_of(app, command)

    [imported] = [event for event in events if isinstance(event, UsersImported)]
    assert (imported.registered, [row.line for row in imported.refused]) == (1, [3, 4, 6])
    assert "not of the form" in imported.refused[0].reason
    assert "another name" in imported.refused[1].reason
    assert {user.name for user in (await users(app)).values()} == {"Иван", "Пётр"}


async def test_an_import_that_registers_nobody_is_refused(app: Application) -> None:
    """It changes nothing, and so stores nothing; the error names the rows."""
    with pytest.raises(NobodyImported) as raised:
        await app.bus.handle(an_import(("", "ivan@example.com")))

    assert raised.value.refused == (RefusedRow(line=2, reason="name is empty"),)
