"""Calls that are made by something else than a thread."""

import gc
import sqlite3
from collections import deque
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import OperationalError, SAWarning
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy_anyio import ThreadCall, ThreadedConnection, run_calls_with

from sqlalchemy_anyio_tests.threads import running_threads, threads_have_ended

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("url", ["sqlite"], indirect=True),
    pytest.mark.everywhere,
]

CREATE, INSERT = "CREATE TABLE numbers (n INTEGER)", "INSERT INTO numbers VALUES (1)"


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Calls may block the event loop here: they are made in it."""


class InPlace:
    """Makes each call at once, and remembers what was asked."""

    def __init__(self, connection: ThreadedConnection) -> None:
        assert connection.driver_connection is None
        self.connection = connection
        self.asked: list[str | None] = []

    def put(self, call: ThreadCall | None) -> None:
        self.asked.append(what(call) if call else None)
        if call:
            self.run(call)

    def run(self, call: ThreadCall) -> None:
        call.run()


def what(call: ThreadCall) -> str:
    """Say what a call asks for: a statement, or a function's name."""
    function, args = call.function.func, call.function.args
    name = str(function.__name__)
    return str(args[1]) if name == "_execute" else name


class Runners(list[InPlace]):
    """Runners of one kind, in the order of their connections."""

    def __init__(self, kind: type[InPlace] = InPlace) -> None:
        self._kind = kind

    def start(self, connection: ThreadedConnection) -> InPlace:
        self.append(self._kind(connection))
        return self[-1]


async def test_each_call_is_put_into_the_runner_of_its_connection(engine: AsyncEngine) -> None:
    """From connecting to closing; and no thread runs."""
    await threads_have_ended()  # those of other tests
    runners = Runners()
    with run_calls_with(runners.start):
        async with engine.begin() as connection:
            await connection.execute(text(CREATE))
            await connection.execute(text(INSERT))
        assert running_threads() == []
        await engine.dispose()

    [runner] = runners
    assert isinstance(runner.connection.driver_connection, sqlite3.Connection)
    assert runner.asked[0] == "_open"
    assert runner.asked[-5:] == [CREATE, INSERT, "commit", "_close", None]


async def test_tasks_inside_have_runners_and_others_have_threads(url: URL) -> None:
    """Anyone who makes a pool's connection decides, not who made the engine."""
    await threads_have_ended()
    runners = Runners()
    engine = create_async_engine(url)

    async def ask() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    with run_calls_with(runners.start):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
    assert (len(runners), running_threads()) == (1, [])
    await engine.dispose()
    await ask()
    assert (len(runners), len(running_threads())) == (1, 1)
    await engine.dispose()


class LosingAnswers(InPlace):
    """Makes each COMMIT, and answers that the connection was lost."""

    def run(self, call: ThreadCall) -> None:
        error = call.make()
        if what(call) == "commit":
            assert error is None
            error = sqlite3.OperationalError("nobody has heard of it")
        call.answer(error)


async def test_an_answer_can_be_an_error_though_the_call_was_made(engine: AsyncEngine) -> None:
    """So a COMMIT that happened looks like one that did not."""
    with run_calls_with(Runners(LosingAnswers).start):
        with pytest.raises(OperationalError, match="nobody has heard of it"):
            async with engine.begin() as connection:
                await connection.execute(text(CREATE))
                await connection.execute(text(INSERT))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT n FROM numbers"))).all() == [(1,)]
        await engine.dispose()


class Repeating(InPlace):
    """Makes a call again that has failed."""

    def run(self, call: ThreadCall) -> None:
        if call.make():
            call.make()
        call.answer()


async def test_a_call_can_be_made_again(engine: AsyncEngine) -> None:
    """Its last outcome counts; a runner may wait for a lock like that."""
    left = ["it has failed"]

    def fail_once() -> str:
        if left:
            raise sqlite3.OperationalError(left.pop())
        return "made"

    with run_calls_with(Runners(Repeating).start):
        async with engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).dbapi_connection
            assert await connection.run_sync(lambda _: raw.run_in_thread(fail_once)) == "made"
        await engine.dispose()


class Waiting(InPlace):
    """Makes each call when told to."""

    def __init__(self, connection: ThreadedConnection) -> None:
        super().__init__(connection)
        self.is_open = True
        self.waiting: deque[ThreadCall] = deque()

    def run(self, call: ThreadCall) -> None:
        if self.is_open:
            call.run()
        else:
            self.waiting.append(call)


async def test_a_call_that_was_abandoned_is_not_begun(engine: AsyncEngine) -> None:
    """A runner makes it like any other; its task has gone, and the connection is closed next."""
    runners, done = Runners(Waiting), list[int]()
    with run_calls_with(runners.start):
        async with engine.connect() as connection:
            raw: Any = (await connection.get_raw_connection()).dbapi_connection
            [runner] = runners
            assert isinstance(runner, Waiting)
            runner.is_open = False

            async def refused() -> None:
                with pytest.raises(sqlite3.OperationalError, match="was terminated"):
                    await connection.run_sync(lambda _: raw.run_in_thread(done.append, 1))

            async with anyio.create_task_group() as group:
                group.start_soon(refused)
                await anyio.wait_all_tasks_blocked()
                raw.terminate()
            first, last = runner.waiting
            assert isinstance(first.make(), RuntimeError)
            assert last.make() is None
            for call in runner.waiting:
                call.answer()
            await connection.invalidate()

    assert (done, runner.asked[-3:]) == ([], ["append", "_close", None])
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        runner.connection.driver_connection.execute("SELECT 1")


async def test_a_forgotten_connection_is_closed_by_its_runner(engine: AsyncEngine) -> None:
    """Garbage is collected anywhere, also where no task runs; the closing is a call like others."""
    asked: list[str | None] = []

    class Telling:
        def __init__(self, connection: ThreadedConnection) -> None:
            """Keep no connection."""

        def put(self, call: ThreadCall | None) -> None:
            asked.append(what(call) if call else None)
            if call:
                call.run()

    async def forget() -> None:
        await engine.connect().start()
        gc.collect()

    with run_calls_with(Telling), pytest.warns(SAWarning, match="non-checked-in connection"):
        await forget()

    assert asked.count(None) == 1
    assert asked[-2:] == ["_close", None]
