"""Back up while everybody works, restore, and what was owed is done: as docs/operations.md says."""

import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from tests.consoles import commands, shows
from tests.e2e.mail import MailFolder
from tests.e2e.processes import ROOT, Application, owed, wait_until

PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = PAGE.partition("## Back up and restore")[2].partition("\n## ")[0]
ON_SQLITE, INTO_SQLITE, ON_POSTGRESQL, INTO_POSTGRESQL, AFTER = re.findall(
    r"```console\n(.*?)```", SECTION, re.DOTALL
)
SHORT = {"lease_seconds": "3", "handler_timeout_seconds": "2"}
USERS = 40
REGISTERED = "".join(f"Иван,user{number}@example.com\n" for number in range(USERS))
DONE = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NOT NULL"
TWICE = "SELECT user_id FROM registration_log GROUP BY user_id HAVING count(*) <> 1"
LEFT = "SELECT id FROM users WHERE id NOT IN (SELECT user_id FROM registration_log)"
WITHOUT = "SELECT id FROM users WHERE id NOT IN (SELECT user_id FROM coupons)"


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Application:
    shutil.copy(ROOT / "docs" / "deploy" / "backup.py", tmp_path)
    return Application(tmp_path, settings=SHORT)


@pytest.fixture
def on_postgresql(tmp_path: Path, postgres_url: str) -> Application:
    return Application(tmp_path, postgres_url=postgres_url, settings=SHORT)


@contextmanager
def working(application: Application) -> Iterator[None]:
    """Have many users registered, and a worker in the middle of what follows from it."""
    application.run("add-coupon-batch", "WELCOME", "1000")
    (application.folder / "users.csv").write_text(f"name,email\n{REGISTERED}")
    imported = application.run("import-users", "users.csv", "--dispatch", "worker")
    assert imported.returncode == 0, imported.stderr
    with application.running("worker", "--concurrency", "1"):
        wait_until(lambda: application.rows(DONE)[0][0] > USERS // 4)
        yield


def carry_out(application: Application, block: str) -> None:
    """Run the commands of a block by a shell, and compare what is shown."""
    for step in commands(block):
        if step.line.startswith("allocation "):
            result = application.run(*shlex.split(step.line)[1:])
        else:
            result = application.shell(step.line)
        assert result.returncode == 0, f"{step.line}\n{result.stderr}"
        assert shows(result.stdout, step.shown), f"{step.line}\n{result.stdout}"


def assert_all_is_done_once(application: Application, emails: MailFolder) -> None:
    """A coupon of after the backup is another one now, and so is the e-mail about it."""
    assert owed(application) == []
    assert application.rows("SELECT count(*) FROM users") == [(USERS,)]
    for wrong in (TWICE, LEFT, WITHOUT):
        assert application.rows(wrong) == []
    assert application.rows("SELECT count(*) FROM user_view WHERE coupon_code IS NULL") == [(0,)]
    keys = [key for _, _, key in emails.received]
    assert len(keys) == len(set(keys))  # the folder knows those that have come again
    sent = [f"{event_id}.send_coupon_email" for event_id in coupon_events(application)]
    assert all(any(each in key for key in keys) for each in sent)
    assert len([key for key in keys if "send_welcome_email" in key]) == USERS
    assert USERS <= len(keys) - USERS <= 2 * USERS


def coupon_events(application: Application) -> list[UUID]:
    found = application.rows("SELECT id FROM aftercommit_events WHERE type = 'coupon_allocated'")
    return [UUID(str(event_id)) for (event_id,) in found]


def test_a_backup_of_sqlite_made_while_a_worker_works_is_restored(on_sqlite: Application) -> None:
    """What was done after the backup is done again, and only outside it could be seen twice."""
    with working(on_sqlite):
        carry_out(on_sqlite, ON_SQLITE)
        wait_until(lambda: not owed(on_sqlite))
    carry_out(on_sqlite, INTO_SQLITE)

    assert len(owed(on_sqlite)) > 0
    carry_out(on_sqlite, AFTER)

    assert_all_is_done_once(on_sqlite, MailFolder(on_sqlite.folder / "allocation-mail"))


def test_a_backup_of_postgresql_made_while_a_worker_works_is_restored(
    on_postgresql: Application, empty_postgres_url: str
) -> None:
    """Into another database: the old one may be what is broken."""
    with working(on_postgresql):
        carry_out(on_postgresql, ON_POSTGRESQL)
        wait_until(lambda: not owed(on_postgresql))
    on_postgresql.postgres_url = empty_postgres_url
    carry_out(on_postgresql, INTO_POSTGRESQL)

    assert len(owed(on_postgresql)) > 0
    carry_out(on_postgresql, AFTER)

    assert_all_is_done_once(on_postgresql, MailFolder(on_postgresql.folder / "mail"))


def test_a_backup_can_be_read_by_its_owner_only(
    on_sqlite: Application, on_postgresql: Application
) -> None:
    """There are names and addresses in it, as in the database."""
    for application in (on_sqlite, on_postgresql):
        application.run("db", "upgrade")
    carry_out(on_sqlite, ON_SQLITE)
    carry_out(on_postgresql, ON_POSTGRESQL)

    copies = [on_sqlite.folder / "backup.db", on_postgresql.folder / "backup.dump"]
    assert [copy.stat().st_mode & 0o777 for copy in copies] == [0o600, 0o600]


def test_a_backup_that_fails_leaves_the_one_before(on_sqlite: Application) -> None:
    """A night without a database, or with a broken one, must not take away what there is."""
    (on_sqlite.folder / "backup.db").write_text("that of yesterday")

    with pytest.raises(AssertionError, match="unable to open database file"):
        carry_out(on_sqlite, ON_SQLITE)

    assert (on_sqlite.folder / "backup.db").read_text() == "that of yesterday"
