"""The order holds while processes are killed and frozen."""

import signal
from contextlib import ExitStack
from itertools import groupby

from aftercommit_tests.ordered import lane_of
from aftercommit_tests.processes import Installation, freeze, owed, wait_until

ORDERED = ("aftercommit_tests.ordered",)
COUNT, KILLS, LEASE = 30, 3, 3
RUN_BY = "aftercommit_deliveries WHERE completed_at IS NULL AND owner LIKE '%:{pid}'"
IN_THE_ORDER_OF_COMMITS = """
SELECT lane, completed_at FROM aftercommit_deliveries WHERE handler = 'write_down' ORDER BY position
"""


def test_kills_and_freezes_change_no_order(on_each: Installation) -> None:
    """Each lane goes on behind what a dead process has begun, when its lease is over."""
    leases = {
        "lease_seconds": str(LEASE),
        "handler_timeout_seconds": "2",
        "worker_concurrency": "2",
    }
    with ExitStack() as running:
        workers = [
            running.enter_context(on_each.running("worker", module=ORDERED, **leases))
            for _ in range(KILLS + 2)
        ]
        making = ("make-things", str(COUNT))
        maker = running.enter_context(
            on_each.running(*making, module=ORDERED, dispatch="worker", **leases)
        )
        for number in range(KILLS):
            wait_until(lambda: len(on_each.rings) >= 5 * (number + 1))  # noqa: B023
            workers[number].kill()
        frozen = workers[KILLS]
        freeze(frozen, on_each)
        wait_until(lambda: not on_each.count(RUN_BY.format(pid=frozen.pid)))
        frozen.send_signal(signal.SIGCONT)
        wait_until(lambda: not owed(on_each) and maker.poll() == 0)

    rung = [ring.rpartition(" ")[0] for ring in on_each.rings]
    for lane in "012":
        once = [name for name, _ in groupby(name for name in rung if lane_of(name) == lane)]
        assert once == [f"thing {n}" for n in range(1, COUNT + 1) if n % 3 == int(lane)]
    assert len(on_each.lines) == COUNT
    done = on_each.rows(IN_THE_ORDER_OF_COMMITS)
    for lane in {lane for lane, _ in done}:
        times = [time for of_lane, time in done if of_lane == lane]
        assert times == sorted(times)
