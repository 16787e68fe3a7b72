"""Event loop × database: the rule that says what runs where.

A combination runs where it can matter, and `pytest --in-full` runs all there are:

- each event loop with each database: contract suites, and what is about event loops or drivers,
  such as the bus;
- kills on asyncio with each database, since a kill gives no event loop a chance to do anything;
  points that stand for others on Trio, too; what repeats the same code is left out;
- the extension "postgresql" with each of its drivers on one event loop; what is about time and
  connections, with the driver for both event loops on both, but not in threads on asyncio;
- any other end-to-end test, and any check of the repository, on one event loop with one database;
- elsewhere each event loop once and each database once; without a database, one event loop.

Which ones they are alternates from test to test, by its name, so that all are there in any file of
some size.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from zlib import crc32

LAYERS = ("unit", "integration", "packages", "e2e", "checks")
BESIDE = ("unit", "integration", "packages")  # in one process, each of them short
LONG_BEFORE = 0.8  # of the whole, the others have begun

IN_FULL = (
    "_contract",
    "test_signals",
    "aftercommit_tests/processes/test_worker",
    "aftercommit_tests/extensions/postgresql/test_",
    "aftercommit_tests/new_project/processes/test_next_version",
    "aftercommit_tests/test_transactions",
    "aftercommit_tests/test_sqlite",
    "aftercommit_tests/extensions/smtp/test_sessions",
    "packages/sqlalchemy-anyio/",
    *(
        f"aftercommit_tests/test_{subject}."
        for subject in (
            "answers",
            "cancellation",
            "causation",
            "conflicts",
            "failing_handlers",
            "fan_out",
            "observers",
            "time_limits",
            "worker",
        )
    ),
)
CRASHES = "crash_matrix"
WITH_PROCESSES = ("tests/e2e/", "checks/", "/processes/")
ON_BOTH_LOOPS = {"after the commit", "inside announce, after the effect"}
REPEATED = [  # with RabbitMQ, too, which does not let the next one wait for the dead
    "kafka-before the command of a message",
    "kafka-in the commit of its command",
    "kafka-after the acknowledgement",
    "kafka-before dead-lettering",
]
LOOP = re.compile(r"(?<![\w.])(asyncio|trio)(?![\w.])")
DATABASE = re.compile(r"(?<![\w.])(sqlite|postgres)(?:_\w+)?(?![\w.])")
PAIRED = (
    {("asyncio", "sqlite"), ("trio", "postgres")},
    {("asyncio", "postgres"), ("trio", "sqlite")},
)

OF_POSTGRESQL = "aftercommit_tests/extensions/postgresql/test_"
ALSO_THERE = "asyncio-psycopg"  # the driver that is there on both event loops
IN_THREADS = "asyncio-anyio"  # the same in threads, as on Trio
ABOUT_CONNECTIONS = ("claims", "lost_connections", "notifications", "sharing", "time_limits")

Where = tuple[str | None, str | None]


def left_out(tests: Collection[str]) -> set[str]:
    """Return those of the tests that do not run, by the rule above; one alone runs."""
    if len(tests) == 1:
        return set()
    groups: defaultdict[str, dict[str, Where]] = defaultdict(dict)
    for test in tests:
        name, where = _parted(test)
        if where != (None, None) and not any(part in test for part in IN_FULL):
            groups[name][test] = where
    left = {test for name, group in groups.items() for test in group.keys() - _chosen(name, group)}
    left |= {test for test in tests if OF_POSTGRESQL in test and _is_repeated_there(test)}
    return left | {test for test in tests if any(test.endswith(f"{p}]") for p in REPEATED)}


def in_order(tests: Sequence[str]) -> list[str]:
    """Return the tests in the order in which they begin: several do at a time.

    What takes long is none of the last. Tests with processes wait, for what these do or for the one
    RabbitMQ that there is, so they stand among those that compute, and those of one file far apart.
    """
    places: dict[str, float] = {}
    files: defaultdict[str, list[str]] = defaultdict(list)
    for test in sorted(tests, key=_rank):
        files[test.partition("::")[0] if _layer(test) == "e2e" else _layer(test)].append(test)
    beside = [test for name, group in files.items() if name in BESIDE for test in group]
    for group in (*(group for name, group in files.items() if name not in BESIDE), beside):
        end = 1.0 if group is beside else LONG_BEFORE
        places |= {test: end * (n + 0.5) / len(group) for n, test in enumerate(group)}
    return sorted(tests, key=places.__getitem__)


def _rank(test: str) -> int:
    layer = _layer(test)
    return -LAYERS.index(layer) if layer in LAYERS else -len(LAYERS)


def _layer(test: str) -> str:
    """Return the layer of a test: the packages are one by themselves, and so are the checks."""
    first, second, *_ = test.split("/")
    if "/processes/" in test or "/simulation/" in test:  # which compute, but for long
        return "e2e"
    return first if first in LAYERS else second


def _parted(test: str) -> tuple[str, Where]:
    """Return the name of a test without event loop and database, and these."""
    name, bracket, parameters = test.partition("[")
    loop, database = LOOP.search(parameters), DATABASE.search(parameters)
    parameters = DATABASE.sub("*", LOOP.sub("*", parameters, count=1), count=1)
    return name + bracket + parameters, (loop and loop[1], database and database[1])


def _chosen(name: str, group: Mapping[str, Where]) -> set[str]:
    tests, number = sorted(group), crc32(name.encode())
    loops, databases = (set(each) for each in zip(*group.values(), strict=True))
    if CRASHES in name and len(tests) > 1:
        return {test for test, where in group.items() if _is_killed(name, where)}
    if _has_processes(name) or len(databases) == 1:
        return {tests[number % len(tests)]}
    if len(loops) == 1:
        return set(tests)
    return {test for test, where in group.items() if where in PAIRED[number % 2]} or set(tests)


def _is_repeated_there(test: str) -> bool:
    file = test.partition(OF_POSTGRESQL)[2].partition(".py")[0]
    return IN_THREADS in test or (ALSO_THERE in test and file not in ABOUT_CONNECTIONS)


def _is_killed(name: str, where: Where) -> bool:
    return where[0] == "asyncio" or (where[1] == "sqlite" and _is_at(name, ON_BOTH_LOOPS))


def _is_at(name: str, points: Iterable[str]) -> bool:
    return any(f"-{point}{end}" in name for point in points for end in "-]")


def _has_processes(name: str) -> bool:
    return any(part in name for part in WITH_PROCESSES)
