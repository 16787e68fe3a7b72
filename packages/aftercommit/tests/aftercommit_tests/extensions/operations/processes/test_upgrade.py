"""Old and new side by side: the schema is upgraded under a worker of the old version."""

import pytest

from aftercommit_tests.processes import Installation, owed, wait_until

pytestmark = [pytest.mark.on("asyncio-postgres"), pytest.mark.check]

LATER = ("aftercommit_tests.later_schema",)  # of the next version: it has more columns and tables
MOVE = "UPDATE aftercommit_deliveries SET available_at = available_at {} 3600"


def test_a_worker_goes_on_when_the_schema_is_upgraded_under_it(on_each: Installation) -> None:
    """It does what was stored before, when it falls due after."""
    on_each.succeed("make-thing", "lamp", dispatch="worker")
    on_each.change(MOVE.format("+"))
    on_each.succeed("make-thing", "vase", dispatch="worker")
    with on_each.running("worker") as worker:
        wait_until(lambda: on_each.rung == ["vase", "vase shines"] and on_each.lines == ["vase"])
        on_each.succeed("db", "upgrade", module=LATER)
        assert on_each.count("nicknames") == 0
        on_each.change(MOVE.format("-"))
        wait_until(lambda: on_each.lines == ["lamp", "vase"] and not owed(on_each))
        assert worker.poll() is None
