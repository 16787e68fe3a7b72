"""Starts processes that need not import everything first, which takes half a second each time.

One process has imported the application, and forks for each order. What it forks is a process like
any other: it has its own arguments, environment, folder and streams, is our child, and dies its own
death. (Linux only, as is what it is built on: anyone who adopts a process whose parent has ended.)
"""

import atexit
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from runpy import run_module
from typing import Any

import aftercommit

ON_FIRST_USE = (
    "aiosqlite",
    "alembic.command",
    "anyio._backends._asyncio",
    "anyio._backends._trio",
    "asyncpg",
    "psycopg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy_anyio.dialects",
)
ROOT = Path(__file__).parents[4]
SOURCES = os.pathsep.join(
    map(str, [ROOT, ROOT / "src", *sorted(ROOT.glob("packages/*/src")), Path(__file__).parents[1]])
)
exit_codes: list[int] = []
PR_SET_CHILD_SUBREAPER = 36  # see prctl(2)
MAX_ORDER = 1_000_000


class WarmProcess(subprocess.Popen[str]):
    """What `subprocess` makes of `python -m MODULE ARGUMENTS…`, but forked.

    Only how it begins is other than there; that is one method, which has no public name.
    """

    package = "aftercommit_tests.things"
    """The application, which is imported with the engine."""
    mapping = "aftercommit_tests.things.storage"
    """The module that maps its classes."""

    def _execute_child(
        self,
        command: Sequence[str],
        executable: None,
        preexec: None,
        close_fds: bool,
        pass_fds: Sequence[int],
        folder: Path,
        environment: Mapping[str, str],
        startup: None,
        flags: int,
        shell: bool,
        *pipes: Any,
    ) -> None:
        pipes, given = pipes[:6], (pipes[0], pipes[3], pipes[5])
        streams = [ours if it == -1 else it for ours, it in enumerate(given)]  # or as we have it
        order = {"command": command, "folder": str(folder), "environment": dict(environment)}
        forking = _server(self.package, self.mapping)
        self.pid = fork(forking, json.dumps(order), streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def fork(
    forking: "tuple[socket.socket, subprocess.Popen[bytes]]", order: str, streams: Sequence[int]
) -> int:
    """Order a process, and adopt it."""
    orders, _ = forking
    with adopting():
        socket.send_fds(orders, [order.encode()], streams)
        return int(orders.recv(MAX_ORDER))


@contextmanager
def adopting() -> Iterator[None]:
    """Be the parent of those whose own ends meanwhile."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


@cache
def _server(package: str, mapping: str) -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """Start the one that forks; it ends when this process does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: v for name, v in os.environ.items() if not name.startswith("COVERAGE_")}
    with its:
        return ours, subprocess.Popen(
            [sys.executable, "-m", __name__, str(its.fileno()), package, mapping],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": SOURCES},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,  # Ctrl-C is not for this one
        )


def main(orders: socket.socket, package: str, mapping: str) -> None:
    """Fork for each order; return where there is none left, and in a child at its end."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, ignores it
    atexit.register(leave)
    import_all(package, mapping)
    while True:
        order, streams, _, _ = socket.recv_fds(orders, MAX_ORDER, 3)
        if not order:
            return
        reading, writing = os.pipe()
        if not (parent := os.fork()):
            if child := os.fork():
                os.write(writing, str(child).encode())
                os._exit(0)
            orders.close()
            become(json.loads(order), streams)
            return
        os.waitpid(parent, 0)
        orders.send(os.read(reading, 100))
        for descriptor in (reading, writing, *streams):
            os.close(descriptor)


def import_all(package: str, mapping: str) -> None:
    """Import what any command may import, and map the classes, for the children to share."""
    modules = [
        *walk_packages(aftercommit.__path__, "aftercommit."),
        *walk_packages(import_module(package).__path__, f"{package}."),
    ]
    for module in modules:
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ON_FIRST_USE:
        with suppress(ImportError):  # of an extension that was taken out
            import_module(name)
    import_module(mapping).start_mappers()
    gc.freeze()  # or the first collection in each child would copy all of it


def become(order: dict[str, Any], streams: Sequence[int]) -> None:
    """Be the process that was ordered, to the end of it."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(streams) + 10)
    os.chdir(order["folder"])
    sys.path[0] = order["folder"]  # as `python -m` has it
    os.environ.clear()
    os.environ.update(order["environment"])
    _, _, module, *sys.argv[1:] = order["command"]
    try:
        run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int):
            exit_codes.append(end.code)
        raise


def leave() -> None:
    """End a child that has come to its end, when all else that waits for this moment was called.

    It frees nothing: to free what all share, page by page, would take most of the time of a child.
    """
    gc.collect()  # what is not shared; it may have something to complain about
    for code in exit_codes:
        with suppress(Exception):  # of an output that is full: Python says so
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:])
