"""The command `import-users`: rows are stored many at a time, and each stands or falls alone."""

import pytest
from click.testing import Result

from allocation.config import Settings
from allocation.domain.events import UserRegistered
from allocation.service_layer.handlers import HANDLERS
from tests.commands import Shell

DELIVERIES = len(HANDLERS.subscriptions(Settings())[UserRegistered])
"""Of each registered user; without a broker, none of them is published."""
OUTSTANDING = """
    SELECT count(DISTINCT event_id) FROM aftercommit_deliveries WHERE completed_at IS NULL
"""


def import_users(shell: Shell, *rows: str, dispatch: str = "worker") -> Result:
    """Import a file with these rows."""
    text = "".join(f"{row}\n" for row in ("name,email", *rows))
    (shell.folder / "users.csv").write_text(text)
    return shell.run("import-users", "users.csv", "--dispatch", dispatch)


def test_refusals_are_printed_in_order_and_spoil_nothing(shell: Shell) -> None:
    """What is printed and counted is as if rows were stored one at a time."""
    rows = [f"user{n},user{n}@example.com" for n in range(250)]
    rows[20] = "other,user3@example.com"
    rows[30] = "user5,USER5@example.com"
    rows[120] = "user120,nobody"
    rows[140] = "other,user1@example.com"

    result = import_users(shell, *rows)

    assert result.exit_code == 1
    assert result.stdout == "imported 246, already there 1, refused 3\n"
    *refusals, due = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in refusals] == ["line 22", "line 122", "line 142"]
    reasons = ("another name", "not of the form", "another name")
    assert [why for why, line in zip(reasons, refusals, strict=True) if why not in line] == []
    assert due == f'{246 * DELIVERIES} deliveries due; run "allocation worker --until-idle"'
    commands = "SELECT type, source, count(*) FROM aftercommit_commands GROUP BY 1, 2"
    one_by_one = 98 + 98  # the rows of the two batches that were refused as a whole
    assert shell.rows(commands) == [("import_users", "import", one_by_one + 1)]


@pytest.mark.parametrize(("dispatch", "outstanding"), [("worker", 3), ("inline", 0)])
def test_workers_do_the_rest_unless_an_operator_says_otherwise(
    shell: Shell, dispatch: str, outstanding: int
) -> None:
    """An import of a million rows would else send a million e-mails from a terminal."""
    rows = [f"user{n},user{n}@example.com" for n in range(3)]

    result = import_users(shell, *rows, dispatch=dispatch)

    is_due = f"{3 * DELIVERIES} deliveries due" in result.stderr
    assert (result.exit_code, is_due) == (0, outstanding > 0)
    assert shell.rows(OUTSTANDING) == [(outstanding,)]
    assert shell.run("worker", "--until-idle").exit_code == 0
    assert shell.rows(OUTSTANDING) == [(0,)]


def test_nobody_can_block_an_import_by_registering(shell: Shell) -> None:
    """Ids are random, so nobody can take one before; a row is recognized by its address."""
    rows = ("Иван,ivan@example.com", "Мария,maria@example.com")
    shell.run("register-user", "Иван", "IVAN@example.com")
    assert import_users(shell, *rows).stdout == "imported 1, already there 1, refused 0\n"

    before = set(shell.rows("SELECT id FROM users"))
    shell.database.unlink()
    import_users(shell, *rows)

    assert not before & set(shell.rows("SELECT id FROM users"))


def test_a_file_that_has_not_changed_stores_nothing(shell: Shell) -> None:
    """It may be imported every night: also its refused rows are in no history."""
    rows = [f"user{n},user{n}@example.com" for n in range(150)]
    import_users(shell, *rows)
    tables = "users", "aftercommit_commands", "aftercommit_events", "aftercommit_deliveries"
    before = [shell.rows(f"SELECT * FROM {table}") for table in tables]

    again = import_users(shell, *rows, "other,user149@example.com", "nobody,nowhere")

    assert again.stdout == "imported 0, already there 150, refused 2\n"
    assert [shell.rows(f"SELECT * FROM {table}") for table in tables] == before


def test_a_file_may_come_from_any_program(shell: Shell) -> None:
    """Quoted fields, CRLF, BOM and other columns are fine; a row that is not, is named."""
    content = (
        "\ufeffName,phone,EMAIL\r\n"
        '"Иван, the first",1,ivan@example.com\r\n'
        "\r\n"
        "Пётр,4\r\n"
        "Iv\udce1n,7,a@example.com\r\n"
        "Ольга,9,olga@example.com\r\n"
    )
    (shell.folder / "users.csv").write_bytes(content.encode(errors="surrogateescape"))

    result = shell.run("import-users", "users.csv")

    assert (result.exit_code, result.stdout) == (1, "imported 2, already there 0, refused 2\n")
    too_few, not_utf8, _ = result.stderr.splitlines()
    assert too_few == "line 4: row has too few cells"
    assert not_utf8.startswith("line 5: name has")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "does not name the columns name,email"),
        (b"a;b\nc;d\n", "does not name the columns name,email"),
        (b"\x00\x01\xff", "does not name the columns name,email"),
        (b"name,email,Email\n\xd0\x98,i@x.de,j@x.de\n", "names the column email more than once"),
    ],
)
def test_a_file_of_another_kind_is_refused(shell: Shell, content: bytes, complaint: str) -> None:
    """It is the wrong file, or nobody knows which of two columns is meant."""
    (shell.folder / "users.csv").write_bytes(content)

    result = shell.run("import-users", "users.csv")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: the first line {complaint}\n"
