"""Fixtures for every layer."""

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import get_args
from uuid import uuid4

import hypothesis  # noqa: F401  # asks who refers to what, before that is frozen
import pytest
from aftercommit import testing
from aftercommit.settings import EventLoop
from aftercommit_tests.combinations import MARKERS, Tier, left_out, tier
from aftercommit_tests.running_order import in_order
from blockbuster import BlockBuster

MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 4_000_000_000

pytest_plugins: list[str] = [
    "aftercommit_tests.extensions.brokers.fixtures",
]


@pytest.fixture(params=get_args(EventLoop))
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each asynchronous test on both event loops, unless a layer says otherwise."""
    return str(request.param)


@pytest.fixture(params=get_args(EventLoop))
def backend(request: pytest.FixtureRequest) -> str:
    """Run each test of a process on both event loops, unless a module says otherwise."""
    return str(request.param)


@pytest.fixture(scope="session")
def detector() -> BlockBuster:
    """What notices calls that block the event loop, and which of them may."""
    detector = BlockBuster()
    for harmless in ("os.path.abspath", "os.getcwd"):
        del detector.functions[harmless]  # SQLAlchemy makes a path absolute, at start
    for function in detector.functions.values():
        # SQLAlchemy looks up where a dialect is, once
        function.can_block_in("sqlalchemy/util/langhelpers.py", {"load"})
        # Alembic reads its scripts: once, at start, before any message is handled
        function.can_block_in(
            "database/migrations/history.py", {"upgrade", "_files", "names_in_pending"}
        )
        function.can_block_in("database/migrations/upgrade.py", {"upgrade_histories"})
        function.can_block_in("aftercommit/database/database.py", {"backend_for", "find_backend"})
        function.can_block_in("aftercommit/database/sqlite_backend.py", {"new_engine"})
        otel = "aftercommit/extensions/otel/spans.py"
        function.can_block_in(otel, {"_tracing"})  # at the end
        brokers = "aftercommit/extensions/brokers/broker_factory.py"
        function.can_block_in(brokers, {"_new_broker"})  # imports
        smtp = "aftercommit_tests/extensions/smtp/"
        function.can_block_in(f"{smtp}hostile.py", {"misbehaving"})  # starts threads
        function.can_block_in(f"{smtp}sending.py", {"keeping"})
        web = "aftercommit/extensions/web/application.py"
        function.can_block_in(web, {"web_application"})  # imports, at start
        function.can_block_in("extensions/postgresql/connections.py", {"new_engine"})
        function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"})
    return detector


@pytest.fixture(autouse=True)
def blockbuster(detector: BlockBuster) -> Iterator[BlockBuster]:
    """Fail every test in which a call blocks the event loop (asyncio only)."""
    detector.activate()
    yield detector
    detector.deactivate()


@pytest.fixture(scope="session")
def shared_folder(request: pytest.FixtureRequest) -> Path:
    """A folder that all processes of this test run share.

    It is none of pytest's: each run closes those to all users but its own, also those of another
    run, whose PostgreSQL server is another user's where the tests run as root.
    """
    folder = folder_of(request.config)
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgres_server(shared_folder: Path) -> str:
    """The URL of a PostgreSQL server: one you name, or one out of a wheel, for all processes."""
    if url := os.environ.get("ALLOCATION_TEST_POSTGRES_URL"):
        return url
    return testing.postgresql_server(shared_folder / "postgres")


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A new database without a schema; it is gone after the test."""
    with testing.postgresql_url(postgres_server) as url:
        yield url


def folder_of(config: pytest.Config) -> Path:
    of_all: dict[str, str] = getattr(config, "workerinput", vars(config.option))
    return Path(tempfile.gettempdir()) / f"allocation-tests-{of_all['testrunuid']}"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Name this test run, before pytest-xdist does; keep what it writes in memory."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.option.testrunuid = config.option.testrunuid or uuid4().hex
    if config.option.numprocesses and "TMPDIR" not in os.environ:
        keep_in_memory(config)


def keep_in_memory(config: pytest.Config) -> None:
    """Let all processes of a run have their files in memory, where there is room for them.

    Thousands of tests have a database of their own: to make one on PostgreSQL takes six times as
    much of a processor on a disk, and each commit waits for it. Tests kill processes, and cut no
    power. What is run in one process stays on the disk, to be looked at.
    """
    if not MEMORY.is_dir():
        return
    found = os.statvfs(MEMORY)  # environments are made there, too, whose programs run
    runs_programs = not found.f_flag & os.ST_NOEXEC
    if runs_programs and found.f_bavail * found.f_frsize > ENOUGH_BYTES:
        folder = Path(tempfile.mkdtemp(prefix="allocation-", dir=MEMORY))
        folder.chmod(0o755)  # PostgreSQL has a user of its own
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a tier be asked for, or everything."""
    parser.addoption("--in-full", action="store_true", help="each event loop with each database")
    parser.addoption("--tier", choices=get_args(Tier), help="what `make test` runs, or the rest")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run more tests at once than there are processors: they wait, above all for processes."""
    return (2 if config.option.tier == "test" else 3) * len(os.sched_getaffinity(0))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what need not run, or not now; order the others in the fastest way."""
    asked_by_name = any("[" in argument for argument in config.args)
    left = set() if config.option.in_full or asked_by_name else {*left_out(items)}
    if wanted := config.option.tier:
        left |= {item for item in items if tier(item) != wanted}
    if left:
        config.hook.pytest_deselected(items=[*left])
        items[:] = [item for item in items if item not in left]
    place = {test: n for n, test in enumerate(in_order([item.nodeid for item in items]))}
    items.sort(key=lambda item: place[item.nodeid])


def pytest_collection_finish() -> None:
    """Let what all tests share be looked at by no garbage collection in any of them."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder, when all processes of this test run have ended."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(folder_of(config), ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape halves of characters in what was printed and logged: xdist ends if it gets one."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
