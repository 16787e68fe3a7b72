"""Old and new side by side: the schema is upgraded under a worker of the old version."""

from tests.e2e.processes import Application, owed, wait_until

NEWER = "allocation_9999"
PENDING = "SELECT count(*) FROM deliveries WHERE completed_at IS NULL"


def upgrade(application: Application) -> None:
    """Do what the next version may do, as the old processes see it."""
    application.change("ALTER TABLE users ADD COLUMN nickname VARCHAR")
    application.change("ALTER TABLE deliveries ADD COLUMN weight INTEGER NOT NULL DEFAULT 1")
    application.change("CREATE TABLE nicknames (nickname VARCHAR PRIMARY KEY)")
    application.change(f"UPDATE alembic_version SET version_num = '{NEWER}'")


def test_a_worker_goes_on_when_the_schema_is_upgraded_under_it(on_each: Application) -> None:
    """It does what was stored before, when it falls due after."""
    on_each.run("register-user", "Иван", "ivan@example.com", dispatch="worker")
    on_each.change("UPDATE deliveries SET available_at = available_at + 3600")
    on_each.run("register-user", "Мария", "maria@example.com", dispatch="worker")
    with on_each.running("worker") as worker:
        wait_until(lambda: on_each.rows(PENDING) == [(4,)])  # it works
        upgrade(on_each)
        on_each.change("UPDATE deliveries SET available_at = available_at - 3600")
        wait_until(lambda: not owed(on_each))
        assert worker.poll() is None

    assert on_each.rows("SELECT count(*) FROM registration_log") == [(2,)]


def test_an_old_program_does_not_begin_on_a_newer_schema(on_each: Application) -> None:
    """It cannot know what else has changed: a process that ended during the upgrade waits."""
    upgrade(on_each)

    refused = on_each.run("worker", "--until-idle")

    assert refused.returncode == 3
    assert f"(revision {NEWER}) is not known to this version of allocation" in refused.stderr
