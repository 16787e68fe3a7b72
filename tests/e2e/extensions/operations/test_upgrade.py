"""Old and new side by side: the schema is upgraded under a worker of the old version."""

from tests.e2e.processes import TIMEOUT_SECONDS, Application, owed, wait_until

LATER = ("tests.later_schema",)
PENDING = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL"


def upgrade(application: Application) -> None:
    """Let the next version do it, which has more columns and tables."""
    with application.running("db", "upgrade", module=LATER) as newer:
        assert newer.wait(TIMEOUT_SECONDS) == 0
    assert application.rows("SELECT count(*) FROM nicknames") == [(0,)]


def test_a_worker_goes_on_when_the_schema_is_upgraded_under_it(on_each: Application) -> None:
    """It does what was stored before, when it falls due after."""
    on_each.run("register-user", "Иван", "ivan@example.com", dispatch="worker")
    on_each.change("UPDATE aftercommit_deliveries SET available_at = available_at + 3600")
    on_each.run("register-user", "Мария", "maria@example.com", dispatch="worker")
    with on_each.running("worker") as worker:
        wait_until(lambda: on_each.rows(PENDING) == [(4,)])  # it works
        upgrade(on_each)
        on_each.change("UPDATE aftercommit_deliveries SET available_at = available_at - 3600")
        wait_until(lambda: not owed(on_each))
        assert worker.poll() is None

    assert on_each.rows("SELECT count(*) FROM registration_log") == [(2,)]


def test_an_old_program_does_not_begin_on_a_newer_schema(on_each: Application) -> None:
    """It cannot know what else has changed: a process that ended during the upgrade waits."""
    on_each.run("users")
    upgrade(on_each)

    refused = on_each.run("worker", "--until-idle")

    assert refused.returncode == 3
    told = "(revision aftercommit_9000) is not known to this version of aftercommit"
    assert told in refused.stderr


def test_a_new_program_does_not_begin_on_an_older_schema(on_each: Application) -> None:
    """Upgrading is a decision of an operator, with a backup before it."""
    on_each.run("users")

    with on_each.running("worker", "--until-idle", module=LATER) as newer:
        _, told = newer.communicate(timeout=TIMEOUT_SECONDS)

    assert newer.returncode == 3
    assert 'of aftercommit is outdated (revision aftercommit_0001); run "allocation db' in told
