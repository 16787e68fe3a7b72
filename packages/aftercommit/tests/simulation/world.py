"""A world in one thread: virtual time, and processes that share nothing but a database.

A process is an event loop of its own. It runs only when something happens to it: one of its timers
ends, or an answer of its database arrives. The world draws the order in which that happens, so each
order is one that real processes could have had. Within a process, callbacks keep the order that
asyncio promises.
"""

import asyncio
from asyncio import events
from collections.abc import Awaitable, Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from math import inf
from random import Random
from typing import Any, NoReturn, Protocol

from simulation.story import Story

CALLBACKS_AT_ONCE = 20_000  # of one process at one moment: more are taken for an endless loop
BEGIN = 1_800_000_000.0  # seconds since 1970


Action = Callable[[], object]


class Violation(AssertionError):
    """A promise of the engine is broken."""


class Connection(Protocol):
    """A process's connection to its database, which outlives neither of them."""

    def break_off(self) -> None:
        """Lose the connection; the process learns of it by its next call."""

    def drop(self) -> None:
        """End with the process, as the server sees it."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is a number: AnyIO keeps tasks in sets, whose order has to repeat."""

    _number: int

    def __new__(cls, *args: Any, **options: Any) -> "NumberedTask":
        task = super().__new__(cls, *args, **options)
        loop = events._get_running_loop()
        task._number = next(loop.world.numbers)  # type: ignore[union-attr]
        return task

    def __hash__(self) -> int:
        return self._number


class Loop(asyncio.BaseEventLoop):
    """asyncio's event loop without a selector, and with the clock of the world."""

    def __init__(self, world: "World", process: "Process") -> None:
        super().__init__()
        self.world, self.process = world, process
        self.set_task_factory(
            lambda loop, coroutine, **options: NumberedTask(coroutine, loop=loop, **options)
        )

    def time(self) -> float:
        return self.world.now

    async def create_unix_connection(
        self, protocol_factory: Callable[[], Any], path: object = None, **_: object
    ) -> tuple[Any, Any]:
        assert self.world.connect, "nobody listens"
        return await self.world.connect(self, protocol_factory)

    def _write_to_self(self) -> None:
        """Wake no selector."""

    def _timer_handle_cancelled(self, handle: object) -> None:
        """Count nothing: cancelled timers are dropped when they come up."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # an engine of an application, whose request was cancelled while its server was silent
        is_good_bye = "_terminate_graceful_close" in repr(context.get("future"))  # of SQLAlchemy
        if not (self.process.is_dead or is_good_bye):
            self.world.fail(f"{self.process} has an unhandled error: {context}")

    @property
    def next_timer(self) -> float:
        """When the first timer ends."""
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0].cancelled():
            heappop(timers)
        return float(timers[0].when()) if timers else inf

    @property
    def next_due(self) -> float:
        """When there is something to do."""
        return -inf if self._ready else self.next_timer  # type: ignore[attr-defined]

    def run_due(self) -> None:
        """Run what is due, until nothing is."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        events._set_running_loop(self)
        try:
            while self.next_timer <= self.world.now:
                ready.append(heappop(self._scheduled))  # type: ignore[attr-defined]
            for _ in range(CALLBACKS_AT_ONCE):
                if not ready or self.process.is_dead:
                    return
                if not (handle := ready.popleft()).cancelled():
                    handle._run()
            self.world.fail(f"{self.process} is in an endless loop")
        except (SystemExit, KeyboardInterrupt) as error:
            self.world.fail(f"{self.process} is ended by a handler: {error!r}")
        finally:
            events._set_running_loop(None)


class Process:
    """One process: it has tasks and connections until it ends, or until it crashes."""

    def __init__(self, world: "World", role: str, name: str) -> None:
        self.world, self.role, self.name = world, role, name
        self.loop = Loop(world, self)
        self.is_up = self.is_dead = False
        self.frozen_until = self.waited_at = self.broken_at = -inf
        self.occupied_until = -inf  # by a handler, which may hold up others
        self.deserted_at = -inf  # by a client that did not wait for its answer
        self.deferred: list[Action] = []  # what has to wait until it goes on
        self.connections: list[Connection] = []
        world.processes.append(self)

    def __str__(self) -> str:
        return self.name

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a task."""
        events._set_running_loop(self.loop)
        try:
            task: Any = self.loop.create_task(work)
        finally:
            events._set_running_loop(None)
        task._log_destroy_pending = False  # a crash destroys it

    def crash(self, moment: str = "") -> None:
        """Vanish, as by SIGKILL: not one `finally` runs, since nothing runs any longer."""
        self.world.story.tell(self, f"CRASHES {moment}")
        self.end()

    def end(self) -> None:
        """Be gone; the server rolls back what was not committed."""
        if self.is_dead:
            return
        self.is_dead, self.is_up = True, False
        if self.role != "operator":
            self.world.last_death = self.world.now
        self.world.graveyard.append(self)  # what is collected as garbage runs its `finally`
        self.world.processes.remove(self)
        for connection in self.connections:
            connection.drop()

    def freeze(self, seconds: float, moment: str = "") -> None:
        """Stand still, as by SIGSTOP: timers and answers arrive all at once when it goes on."""
        self.world.story.tell(self, f"FREEZES for {seconds:.1f} s {moment}")
        self.frozen_until = self.world.now + seconds
        self.world.after(seconds, self.thaw)

    def thaw(self, *, at_once: bool = False) -> None:
        """Go on, unless it was frozen again."""
        if at_once:
            self.frozen_until = min(self.frozen_until, self.world.now)
        if self.frozen_until <= self.world.now:
            deferred, self.deferred = self.deferred, []
            for action in deferred:
                self.world.after(0.0, action, self)


Connect = Callable[[Loop, Callable[[], Any]], Awaitable[tuple[Any, Any]]]


def this_process() -> Any:
    """Return the process of the running task."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop.process


class World:
    """Time, chance, processes, and what has happened."""

    def __init__(self, seed: int | str, latency: float) -> None:
        self.random, self.latency = Random(seed), latency
        self.now, self.clock_is_ahead = 0.0, 0.0
        self.numbers = count(1)
        self.story = Story(self)
        self.processes: list[Process] = []
        self.graveyard: list[Process] = []
        self.problem = ""
        self.last_death = -inf  # of a process that was not there for a moment only
        self.connect: Connect | None = None  # processes to a server, if there is one
        self._agenda: list[tuple[float, int, Process | None, Action]] = []

    @property
    def wall_clock(self) -> float:
        """What the database takes for the time."""
        return BEGIN + self.now + self.clock_is_ahead

    def fail(self, problem: str) -> NoReturn:
        """End this world. The engine may catch what is raised here, so the world remembers it.

        :raises Violation: always
        """
        if not self.problem:
            self.problem = problem
            self.story.tell("", f"✗ {problem}")
        raise Violation(problem)

    def chance(self, probability: float) -> bool:
        """Draw whether something happens."""
        return self.random.random() < probability

    def after(self, seconds: float, action: Action, process: Process | None = None) -> None:
        """Let something happen later: to a process, if it lives, when it is not frozen."""
        heappush(self._agenda, (self.now + seconds, next(self.numbers), process, action))

    def soon(self, action: Action, process: Process, *, at_least: float = 0.0) -> None:
        """Let something happen to a process after a moment on the way to the database, or back."""
        self.after(at_least + self.random.expovariate(1 / self.latency), action, process)

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let things happen for so long, or until it is `done`; return whether it is.

        :raises Violation: if a promise is broken
        """
        end = self.now + seconds
        while not done():
            when, process = self._agenda[0][0] if self._agenda else inf, None
            for each in self.processes:
                if (due := max(each.loop.next_due, each.frozen_until)) < when:
                    when, process = due, each
            if when >= end:
                self.now = end
                return False
            self.now = max(when, self.now)
            if process is None:
                process = self._act()
            if process and not process.is_dead and process.frozen_until <= self.now:
                process.loop.run_due()
            if self.problem:
                raise Violation(self.problem)
        return True

    def _act(self) -> Process | None:
        """Do the first thing on the agenda; return the process that it concerns."""
        *_, process, action = heappop(self._agenda)
        if process and process.is_dead:
            return None
        if process and process.frozen_until > self.now:
            process.deferred.append(action)
            return None
        action()
        return process
