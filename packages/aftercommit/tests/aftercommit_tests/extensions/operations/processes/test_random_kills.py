"""Processes under load, killed at random moments: nothing is lost, nothing happens twice."""

import random
from subprocess import TimeoutExpired

from aftercommit_tests.processes import Installation, owed

COUNT = 200
KILLS = 20
SEED = 2026


def test_two_hundred_things_survive_twenty_random_kills(installation: Installation) -> None:
    """No step is safe from a power cut, not even those nobody thought of."""
    make, work = ("make-things", str(COUNT)), ("worker", "--until-idle")
    dice, kills = random.Random(SEED), 0
    installation.succeed("db", "upgrade")
    while kills < KILLS or not installation.count("things"):
        with installation.running(*(make if kills % 4 else work)) as process:
            try:  # on a busy machine, it may take longer until there is anything to kill
                process.wait(dice.uniform(0.05, 0.4) * (1 + kills // KILLS))
            except TimeoutExpired:
                kills += 1
        if not kills % 5:
            installation.end_leases()
    killed_in_the_middle = 0 < installation.count("things") < COUNT or owed(installation)

    installation.succeed(*make)
    installation.end_leases()
    installation.succeed(*work)

    names = sorted(f"thing {n}" for n in range(1, COUNT + 1))
    assert killed_in_the_middle
    assert installation.count("things") == COUNT
    assert installation.lines == names
    assert installation.rung == sorted([*names, *(f"{name} shines" for name in names)])
    assert owed(installation) == []
