"""An import stores many rows with one commit, and each row stands or falls alone."""

from contextlib import suppress

import anyio
import pytest
from aftercommit.bus import MessageBus

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import RegisterUser
from allocation.domain.users import EmailAlreadyRegistered
from allocation.user_import.model import ImportedRow, ImportUsers, UsersImported
from tests.builders import a_registration, a_user_id
from tests.command_line import Application

OWED = "SELECT count(DISTINCT event_id) FROM aftercommit_deliveries WHERE completed_at IS NULL"


def write(application: Application, rows: list[str]) -> None:
    (application.folder / "users.csv").write_text("name,email\n" + "".join(rows))


def test_refusals_are_told_in_order_and_spoil_nothing(application: Application) -> None:
    """Rows are stored many at a time; what is told and counted is as if one at a time."""
    rows = [f"user{n},user{n}@example.com\n" for n in range(250)]
    rows[20] = "other,user3@example.com\n"
    rows[30] = "user5,USER5@example.com\n"
    rows[120] = "user120,nobody\n"
    rows[140] = "other,user1@example.com\n"
    write(application, rows)

    result = application.run("import-users", "users.csv", "--dispatch", "worker")

    assert result.returncode == 1
    assert result.stdout == "imported 246, already there 1, refused 3\n"
    *refusals, due = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in refusals] == ["line 22", "line 122", "line 142"]
    assert due == '984 deliveries due; run "allocation worker --until-idle"'
    commands = application.rows(
        "SELECT type, source, count(*) FROM aftercommit_commands GROUP BY 1, 2"
    )
    assert commands == [("import_users", "import", 3)]


@pytest.mark.parametrize(
    ("options", "owing"), [((), 3), (("--dispatch", "worker"), 3), (("--dispatch", "inline"), 0)]
)
def test_workers_do_the_rest_unless_told_otherwise(
    application: Application, options: tuple[str, ...], owing: int
) -> None:
    """An import of a million rows would else send a million e-mails from a terminal."""
    write(application, [f"user{n},user{n}@example.com\n" for n in range(3)])

    result = application.run("import-users", "users.csv", *options)

    due = '12 deliveries due; run "allocation worker --until-idle"\n'
    assert (result.returncode, result.stderr) == (0, due if owing else "")
    assert application.rows(OWED) == [(owing,)]
    assert application.run("worker", "--until-idle").returncode == 0
    assert application.rows(OWED) == [(0,)]


def test_nobody_can_block_an_import_by_registering(application: Application) -> None:
    """Ids are random, so nobody can take one before; a row is recognized by its address."""
    write(application, ["Иван,ivan@example.com\n", "Мария,maria@example.com\n"])
    application.run("register-user", "Иван", "IVAN@example.com")

    assert application.run("import-users", "users.csv").stdout == (
        "imported 1, already there 1, refused 0\n"
    )

    before = set(application.rows("SELECT id FROM users"))
    application.database.unlink()
    application.run("import-users", "users.csv")
    assert not before & set(application.rows("SELECT id FROM users"))


def test_a_file_that_has_not_changed_stores_nothing(application: Application) -> None:
    """It may be imported every night: also its refused rows are in no history."""
    write(application, [f"user{n},user{n}@example.com\n" for n in range(150)])
    application.run("import-users", "users.csv")
    tables = "users", "aftercommit_commands", "aftercommit_events", "aftercommit_deliveries"
    before = [application.rows(f"SELECT * FROM {table}") for table in tables]
    with (application.folder / "users.csv").open("a") as file:
        file.write("other,user149@example.com\nnobody,nowhere\n")

    again = application.run("import-users", "users.csv")

    assert again.stdout == "imported 0, already there 150, refused 2\n"
    assert [application.rows(f"SELECT * FROM {table}") for table in tables] == before


def test_bad_rows_are_reported_and_the_others_imported(application: Application) -> None:
    """With line number and reason; quoted fields, CRLF, BOM and other columns are fine."""
    content = (
        "\ufeffName,phone,EMAIL\r\n"
        '"Иван, the first",1,ivan@example.com\r\n'
        "Мария,2,not-an-address\r\n"
        "\r\n"
        '"two\r\nlines",3,two@example.com\r\n'
        "Пётр,4\r\n"
        ",5,nobody@example.com\r\n"
        "Анна,6,IVAN@example.com\r\n"
        "Iv\udce1n,7,a@example.com\r\n"
        '"Ольга,8,o@example.com\r\n'
        "Ольга,9,olga@example.com\r\n"
    )
    (application.folder / "users.csv").write_bytes(content.encode(errors="surrogateescape"))

    result = application.run("import-users", "users.csv")

    assert result.returncode == 1
    assert result.stdout == "imported 2, already there 0, refused 7\n"
    *complaints, due = result.stderr.splitlines()
    bad_name = "name has a line break, a control character or invalid UTF-8 in it"
    assert complaints == [
        "line 3: e-mail address 'not-an-address' is not of the form name@example.com",
        f"line 5: {bad_name}",
        "line 7: row has too few cells",
        "line 8: name is empty",
        complaints[4],
        f"line 10: {bad_name}",
        "line 11: row is not valid CSV up to line 12: a quote is not closed",
    ]
    assert complaints[4].startswith("line 9: user ")
    assert complaints[4].endswith("is already registered with another name or e-mail")
    assert due.startswith("8 deliveries due; ")
    assert len(application.rows("SELECT * FROM users")) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "does not name the columns name,email"),
        (b"a;b\nc;d\n", "does not name the columns name,email"),
        (b"\x00\x01\xff", "does not name the columns name,email"),
        (b"name,email,Email\n\xd0\x98,i@x.de,j@x.de\n", "names the column email more than once"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    application: Application, content: bytes, complaint: str
) -> None:
    """It is the wrong file, or nobody knows which of two columns is meant."""
    (application.folder / "users.csv").write_bytes(content)

    result = application.run("import-users", "users.csv")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: the first line {complaint}\n"


@pytest.mark.anyio
async def test_what_registers_at_the_same_time_costs_no_other_row(settings: Settings) -> None:
    """A violated constraint names no row: the import reads again who is known."""
    emails = [f"user{n}@example.com" for n in range(20)]
    registered: list[int] = []

    async with (
        bootstrap(settings, delivers=False) as one,
        bootstrap(settings, delivers=False) as other,
        anyio.create_task_group() as group,
    ):

        async def import_them(bus: MessageBus, command: ImportUsers) -> None:
            for envelope in (await bus.execute(command)).events:
                if isinstance(envelope.event, UsersImported):
                    assert envelope.event.refused == ()
                    registered.append(envelope.event.registered)

        async def register(bus: MessageBus, command: RegisterUser) -> None:
            with suppress(EmailAlreadyRegistered):
                registered.append(len((await bus.execute(command)).events))

        group.start_soon(import_them, one.bus, a_command(emails))
        group.start_soon(import_them, other.bus, a_command(emails[::-1]))
        for email in emails[::5]:
            group.start_soon(register, other.bus, a_registration(email=email, name="Иван"))

    assert sum(registered) == len(emails)


def a_command(emails: list[str]) -> ImportUsers:
    rows = [
        ImportedRow(line=line, user_id=a_user_id(), name="Иван", email=email)
        for line, email in enumerate(emails, 2)
    ]
    return ImportUsers(import_id=a_user_id(), rows=tuple(rows))
