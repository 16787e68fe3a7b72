"""Runs commands in processes that need not import everything first, which takes half a second.

    python -m tests.e2e.warm

It imports the application, and forks once for each order. What it forks is a process like any
other: it has arguments, an environment, a folder and streams of its own, and dies its own death.
Orders come, and answers go, as lines of JSON; see `Warm`.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from runpy import run_module
from typing import Any

import allocation

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


class Warm:
    """The one process that has imported everything, as seen by those who give it orders."""

    def run(
        self, module: str, *arguments: str, folder: Path, environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a module to its end, as `python -m` does."""
        order = {"argv": [module, *arguments], "folder": str(folder), "environment": environment}
        try:
            code, out, err = self._ask(json.dumps(order))
        except BaseException:  # the test is out of time, or interrupted
            self._end()
            raise
        return subprocess.CompletedProcess([module, *arguments], code, out, err)

    def _ask(self, order: str) -> list[Any]:
        orders, answers = self._process.stdin, self._process.stdout
        assert orders
        assert answers
        print(order, file=orders, flush=True)
        answer: list[Any] = json.loads(answers.readline())
        return answer

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        del self._process

    @cached_property
    def _process(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": "src"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def main() -> None:
    """Fork for each order, and answer it; a child returns, at the end of what was ordered."""
    import_all()
    for order in sys.stdin:
        out, err = os.pipe(), os.pipe()
        if not (child := os.fork()):
            become(json.loads(order), out[1], err[1])
            return
        os.close(out[1])
        os.close(err[1])
        with ThreadPoolExecutor() as readers:
            told = list(readers.map(read_all, (out[0], err[0])))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(json.dumps([code, *told]) + "\n")
        sys.stdout.flush()


def import_all() -> None:
    """Import what any command may import, for the children to share."""
    for module in walk_packages(allocation.__path__, "allocation."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ON_FIRST_USE:
        with suppress(ImportError):  # of a room that was taken out
            import_module(name)
    gc.freeze()  # or the first collection of each child would copy all of it


def become(order: dict[str, Any], out: int, err: int) -> None:
    """Be the process that was ordered, to the end of it."""
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(stream, number)
    os.closerange(3, max(out, err) + 1)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    module, *sys.argv[1:] = order["argv"]
    run_module(module, run_name="__main__", alter_sys=True)


def read_all(pipe: int) -> str:
    with open(pipe) as stream:
        return stream.read()


if __name__ == "__main__":
    main()
