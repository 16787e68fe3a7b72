"""Unit tests open no database, no file and no connection: one that does so fails."""

import sys
from collections.abc import Iterator

import pytest

REFUSED = {"open", "sqlite3.connect", "socket.connect", "subprocess.Popen"}
SOURCES = (".py", ".pyc")  # what a test imports, when it does

tests = set[str]()
"""The unit test that is run."""


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if tests and event in REFUSED and not str(arguments[0]).endswith(SOURCES):
        raise AssertionError(f"a unit test has no I/O: {event} {arguments[0]}")


sys.addaudithook(refuse)  # for ever: a hook cannot be removed


@pytest.fixture(autouse=True)
def no_io(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse what belongs to integration tests, as long as a unit test is run."""
    tests.add(request.node.nodeid)
    yield
    tests.clear()
