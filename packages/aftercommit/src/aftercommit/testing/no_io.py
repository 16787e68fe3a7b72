"""Refuses databases, files, connections and processes, so that a unit test remains one."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

REFUSED = {"open", "sqlite3.connect", "socket.connect", "subprocess.Popen"}  # events for auditing
ALLOWED = re.compile(r"\.py(c(\.\d+)?)?$|^\d+$")
"""A module: imported, compiled, or shown in a traceback; and a file that is open already."""

_opened = set[object]()
"""The contexts that are open now, in any thread."""


@contextmanager
def no_io() -> Iterator[None]:
    """Refuse to open a file, a SQLite database, a connection or a process within the context.

    Python modules can still be imported and compiled. Use it in a fixture for all your unit tests:

        @pytest.fixture(autouse=True)
        def no_io() -> Iterator[None]:
            with testing.no_io():
                yield

    :raises AssertionError: when something is opened

    >>> from aftercommit import testing
    >>> with testing.no_io():
    ...     open("orders.csv")
    Traceback (most recent call last):
    AssertionError: a unit test has no I/O: open orders.csv
    """
    _listen()
    _opened.add(this := object())
    try:
        yield
    finally:
        _opened.remove(this)


@cache
def _listen() -> None:
    """Observe what is opened from now on; such a hook cannot be removed."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if _opened and event in REFUSED and not ALLOWED.search(str(arguments[0])):
        raise AssertionError(f"a unit test has no I/O: {event} {arguments[0]}")
