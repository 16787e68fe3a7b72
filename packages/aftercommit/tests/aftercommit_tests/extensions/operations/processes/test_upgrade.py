"""Old and new side by side: the schema is upgraded under a worker of the old version."""

from aftercommit.sql.migrations.history import ENGINE

from aftercommit_tests.processes import Installation, owed, wait_until

LATER = ("aftercommit_tests.later_schema",)
MOVE = "UPDATE aftercommit_deliveries SET available_at = available_at {} 3600"


def upgrade(installation: Installation) -> None:
    """Let the next version do it, which has more columns and tables."""
    installation.succeed("db", "upgrade", module=LATER)
    assert installation.count("nicknames") == 0


def test_a_worker_goes_on_when_the_schema_is_upgraded_under_it(on_each: Installation) -> None:
    """It does what was stored before, when it falls due after."""
    on_each.succeed("make-thing", "lamp", dispatch="worker")
    on_each.change(MOVE.format("+"))
    on_each.succeed("make-thing", "vase", dispatch="worker")
    with on_each.running("worker") as worker:
        wait_until(lambda: on_each.rung == ["vase", "vase shines"] and on_each.lines == ["vase"])
        upgrade(on_each)
        on_each.change(MOVE.format("-"))
        wait_until(lambda: on_each.lines == ["lamp", "vase"] and not owed(on_each))
        assert worker.poll() is None


def test_an_old_program_does_not_begin_on_a_newer_schema(on_each: Installation) -> None:
    """It cannot know what else has changed: a process that ended during the upgrade waits."""
    upgrade(on_each)

    refused = on_each.run("worker", "--until-idle")

    assert refused.returncode == 3
    told = "(revision aftercommit_9000) is not known to this version of aftercommit"
    assert told in refused.stderr


def test_an_old_program_begins_on_a_newer_schema_that_allows_it(on_each: Installation) -> None:
    """Two more digits say so: whoever has to roll back can."""
    on_each.succeed("make-thing", "lamp", dispatch="worker")
    revision = f"{ENGINE.newest}01"
    on_each.change(f"UPDATE aftercommit_version SET version_num = '{revision}'")

    assert revision in on_each.succeed("db", "upgrade")
    on_each.succeed("worker", "--until-idle")

    assert on_each.lines == ["lamp"]


def test_a_new_program_does_not_begin_on_an_older_schema(on_each: Installation) -> None:
    """Upgrading is a decision of an operator, with a backup before it."""
    on_each.succeed("db", "upgrade")

    refused = on_each.run("worker", "--until-idle", module=LATER)

    assert refused.returncode == 3
    told = f'of aftercommit is outdated (revision {ENGINE.newest}); run "things db'
    assert told in refused.stderr
