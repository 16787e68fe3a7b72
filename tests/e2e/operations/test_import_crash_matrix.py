"""Who imports users is killed at every step of a chunk, and then repeated."""

import pytest

from tests.e2e.crashing import IMPORTING
from tests.e2e.processes import Application

USERS = 25
IMPORT = ("import-users", "users.csv")


@pytest.mark.parametrize("dispatch", ["inline", "worker"])
@pytest.mark.parametrize("point", IMPORTING)
def test_an_import_survives_a_kill(point: str, dispatch: str, on_each: Application) -> None:
    """A chunk is there whole or not at all; nothing is lost or doubled by repeating it."""
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(USERS))
    (on_each.folder / "users.csv").write_text("name,email\n" + rows)
    on_each.crash(point, *IMPORT, dispatch=dispatch)
    chunk = 10 if dispatch == "inline" else USERS
    is_committed = point.startswith("after")
    found = count(on_each, "users")
    assert found == (chunk if is_committed else 0)
    registered = count(on_each, "events WHERE type = 'user_registered'")
    assert count(on_each, "commands") == registered == found

    repeated = on_each.run(*IMPORT, dispatch=dispatch)

    assert repeated.returncode == 0, repeated.stderr
    assert repeated.stdout == f"imported {USERS - found}, already there {found}, refused 0\n"
    on_each.end_leases()
    assert on_each.run("worker", "--until-idle").returncode == 0
    assert count(on_each, "commands") == USERS + found
    for table in ("users", "registration_log", "user_view"):
        assert count(on_each, table) == USERS
    assert count(on_each, "(SELECT DISTINCT email FROM registration_log) AS logged") == USERS
    assert on_each.rows("SELECT * FROM deliveries WHERE finished_at IS NULL") == []


def count(application: Application, table: str) -> int:
    [(number,)] = application.rows(f"SELECT count(*) FROM {table}")
    return int(number)
