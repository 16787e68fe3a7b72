"""An import stores many rows at a time, and is as exact as if it stored them one by one."""

import pytest

from tests.command_line import Application


def test_refusals_are_told_in_order_and_spoil_nothing(application: Application) -> None:
    """Rows are stored many at a time; what is told and counted is as if one at a time."""
    rows = [f"user{n},user{n}@example.com\n" for n in range(250)]
    rows[20] = "other,user3@example.com\n"
    rows[30] = "user5,USER5@example.com\n"
    rows[120] = "user120,nobody\n"
    rows[140] = "other,user1@example.com\n"
    (application.folder / "users.csv").write_text("name,email\n" + "".join(rows))

    result = application.run("import-users", "users.csv", "--dispatch", "worker")

    assert result.returncode == 1
    assert result.stdout == "imported 246, already there 1, refused 3\n"
    *refusals, due = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in refusals] == ["line 22", "line 122", "line 142"]
    assert due == '984 deliveries due; run "allocation worker --until-idle"'
    commands = application.rows("SELECT source, count(DISTINCT id) FROM commands GROUP BY 1")
    assert commands == [("import", 247)]


def test_a_long_import_leaves_its_end_to_workers(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default; who wants one or the other for all rows says so."""
    monkeypatch.setattr("allocation.entrypoints.operations.import_users.INLINE_ROWS", 15)
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(20))
    (application.folder / "users.csv").write_text("name,email\n" + rows)
    owed = "SELECT count(DISTINCT event_id) FROM deliveries WHERE finished_at IS NULL"

    result = application.run("import-users", "users.csv")

    assert result.stdout == "imported 20, already there 0, refused 0\n"
    assert result.stderr == '20 deliveries due; run "allocation worker --until-idle"\n'
    assert application.rows(owed) == [(5,)]
    assert application.run("worker", "--until-idle").returncode == 0
    assert application.rows(owed) == [(0,)]


@pytest.mark.parametrize(("dispatch", "owing"), [("inline", 0), ("worker", 3)])
def test_who_does_the_rest_can_be_said(
    application: Application, dispatch: str, owing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all rows, however many there are."""
    monkeypatch.setattr("allocation.entrypoints.operations.import_users.INLINE_ROWS", 1)
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(3))
    (application.folder / "users.csv").write_text("name,email\n" + rows)

    application.run("import-users", "users.csv", "--dispatch", dispatch)

    owed = "SELECT count(DISTINCT event_id) FROM deliveries WHERE finished_at IS NULL"
    assert application.rows(owed) == [(owing,)]
