"""The import of many users with one command: through the bus, on the fakes."""

import pytest

from allocation.domain.events import UserRegistered
from allocation.user_import.model import (
    ImportedRow,
    ImportUsers,
    NobodyImported,
    RefusedRow,
    UsersImported,
)
from tests.builders import HANDLERS, FakeApplication, a_registration, a_user_id

pytestmark = pytest.mark.anyio


def an_import(*rows: tuple[str, str]) -> ImportUsers:
    """Make the command of a file whose first line is the header."""
    numbered = enumerate(rows, 2)
    imported = (
        ImportedRow(line=line, user_id=a_user_id(), name=name, email=email)
        for line, (name, email) in numbered
    )
    return ImportUsers(import_id=a_user_id(), rows=tuple(imported))


async def execute(application: FakeApplication, command: ImportUsers) -> list[object]:
    return [e.event for e in (await application.bus.execute(command)).events]


def names(application: FakeApplication) -> list[str]:
    return sorted(str(user.name) for user in application.database.users.values())


async def test_each_new_user_has_the_event_of_a_registration() -> None:
    """So all that follows from one follows from an import."""
    application = FakeApplication()
    command = an_import(("Иван", "ivan@example.com"), ("Мария", "maria@example.com"))

    *registered, imported = sorted(await execute(application, command), key=type_name)[::-1]

    assert names(application) == ["Иван", "Мария"]
    assert {type(event) for event in (*registered, imported)} == {UserRegistered, UsersImported}
    assert len(application.database.deliveries) == 2 * len(HANDLERS[UserRegistered])


def type_name(event: object) -> str:
    return type(event).__name__


async def test_one_bad_row_is_named_and_stops_no_other() -> None:
    """Who imports thousands of users mends the five that are wrong, and imports again."""
    application = FakeApplication()
    await application.bus.execute(a_registration(name="Пётр", email="petr@example.com"))
    command = an_import(
        ("Иван", "ivan@example.com"),
        ("Мария", "not-an-address"),
        ("Anna", "PETR@example.com"),
        ("Иван", "IVAN@example.com"),
        ("Olga", "ivan@example.com"),
    )

    events = await execute(application, command)

    [imported] = [event for event in events if isinstance(event, UsersImported)]
    assert (imported.registered, [row.line for row in imported.refused]) == (1, [3, 4, 6])
    assert "not of the form" in imported.refused[0].reason
    assert "another name" in imported.refused[1].reason
    assert names(application) == ["Иван", "Пётр"]


async def test_what_is_known_already_is_no_news() -> None:
    """A file may be imported every night."""
    application = FakeApplication()
    rows = ("Иван", "ivan@example.com"), ("Мария", "maria@example.com")
    await execute(application, an_import(*rows))

    assert await execute(application, an_import(*rows)) == []
    assert len(application.database.users) == 2


async def test_an_import_that_registers_nobody_is_refused() -> None:
    """It changes nothing, and so stores nothing; the error names the rows."""
    application = FakeApplication()

    with pytest.raises(NobodyImported) as raised:
        await execute(application, an_import(("", "ivan@example.com")))

    assert raised.value.refused == (RefusedRow(line=2, reason="name is empty"),)
    assert application.database.commands == []
